"""Examples for a network: the arrays of the three sets, and what the training set says."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
from ase.data import chemical_symbols
from jaxtyping import Int

from experiments.data.cache import Arrays
from experiments.data.checks import finite_single
from experiments.data.npz import DataError
from experiments.tasks.molecules.centred import centred
from experiments.tasks.molecules.data.facts import (
    MoleculeFacts,
    composition_of,
    facts_of,
    survey,
)
from experiments.tasks.molecules.data.molecules import Molecules


class Part(NamedTuple):
    """The snapshots of one of the three sets, and where they come from.

    Attributes:
      source: a file or the name of a simulated molecule, for errors.
      numbers: of the snapshots in the source, from 0.
      molecules: the snapshots; or a function that gives them some at a time, each time anew.
    """

    source: str
    numbers: Int[np.ndarray, " snapshots"]
    molecules: Molecules | Callable[[], Iterable[Molecules]]

    def windows(self) -> Iterable[Molecules]:
        """The snapshots, some at a time, or all at once."""
        return [self.molecules] if isinstance(self.molecules, Molecules) else self.molecules()


class Plan(NamedTuple):
    """What is the same for the arrays of all three sets.

    Attributes:
      facts: what the training set says.
      atoms: of the largest molecule, which all are padded to.
      periodic: whether any snapshot is.
    """

    facts: MoleculeFacts
    atoms: int
    periodic: bool


def make_examples(parts: Mapping[str, Part]) -> tuple[dict[str, Arrays], MoleculeFacts]:
    """Arrays to learn from: centred, above the references, padded to one number of atoms.

    Args:
      parts: `"train"`, `"valid"` and `"test"`, whose snapshots are all there at once.

    Returns:
      The arrays of each set, as `load_molecules` describes them, and what the training set says.

    Raises:
      DataError: as `plan_examples`, or a number beyond float32.
    """
    plan = plan_examples(parts)
    splits = {}
    for split, part in parts.items():
        [splits[split]] = example_windows(part, plan)
    return splits, plan.facts


def plan_examples(parts: Mapping[str, Part]) -> Plan:
    """What the arrays of the sets have in common, for which each is looked through once.

    Args:
      parts: `"train"`, `"valid"` and `"test"`.

    Raises:
      DataError: a set has an element that the training set lacks, or none of the stresses that are
        to be learnt.
    """
    surveys = {split: survey(part.windows()) for split, part in parts.items()}
    for split, found in surveys.items():
        if found.stressed == 0:
            raise DataError(
                f"{parts[split].source}: of the snapshots for {split} one at least must repeat in "
                "all three directions and so have a stress, got none"
            )
    elements = surveys["train"].elements
    for split, part in parts.items():
        if not np.all(np.isin(surveys[split].elements, elements)):
            _refuse_unknown_elements(split, part, elements)
    atoms = max(int(found.composition.sum(axis=1).max()) for found in surveys.values())
    periodic = any(found.periodic for found in surveys.values())
    return Plan(facts_of(surveys["train"]), atoms, periodic)


def example_windows(part: Part, plan: Plan) -> Iterator[Arrays]:
    """The arrays of a set, some snapshots at a time.

    Args:
      part: the set.
      plan: by `plan_examples`.

    Raises:
      DataError: a number beyond float32.
    """
    elements, references = np.array(plan.facts.elements), np.array(plan.facts.references)
    for molecules in part.windows():
        species = _padded(molecules.species, plan.atoms)
        wanted = {"positions": centred(_padded(molecules.positions, plan.atoms), species > 0)}
        if molecules.energies is not None:
            # A product of matrices rounds a row as the number of rows has it.
            above = np.sum(composition_of(species, elements) * references, axis=1)
            wanted["energy"] = molecules.energies - above
        if molecules.forces is not None:
            wanted["forces"] = _padded(molecules.forces, plan.atoms)
        if molecules.dipoles is not None:
            wanted["dipole"] = molecules.dipoles
        if molecules.polarizabilities is not None:
            wanted["polarizability"] = molecules.polarizabilities
        if molecules.stresses is not None:
            wanted["stress"] = molecules.stresses
        if plan.periodic:
            wanted["cell"] = _or_zeros(molecules.cells, (len(species), 3, 3))
        arrays = {name: finite_single(part.source, name, array) for name, array in wanted.items()}
        if plan.periodic:
            arrays["pbc"] = _or_zeros(molecules.pbc, (len(species), 3)).astype(bool)
        indices = np.where(species > 0, np.searchsorted(elements, species) + 1, 0)
        yield arrays | {"species": indices.astype(np.int32)}


def _refuse_unknown_elements(
    split: str, part: Part, elements: Int[np.ndarray, " elements"]
) -> None:
    others: list[tuple[int, int]] = []
    start = 0
    for molecules in part.windows():
        species = molecules.species
        unknown = np.argwhere((species > 0) & ~np.isin(species, elements))
        others += [(start + int(row), int(species[row, atom])) for row, atom in unknown]
        start += len(species)
    snapshot, number = others[0]
    known = ", ".join(chemical_symbols[number] for number in elements)
    raise DataError(
        f"{part.source}: snapshot {part.numbers[snapshot] + 1}, which is for {split}: elements "
        f"must be those of the training snapshots, {known}, got {chemical_symbols[number]} "
        f"({len({row for row, _ in others})} of {start} snapshots have such; a larger num_train may "
        "have more elements)"
    )


def _or_zeros(array: np.ndarray | None, shape: tuple[int, ...]) -> np.ndarray:
    return np.zeros(shape) if array is None else array


def _padded(array: np.ndarray, atoms: int) -> np.ndarray:
    missing = max(0, atoms - array.shape[1])
    return np.pad(array[:, :atoms], ((0, 0), (0, missing), *((0, 0),) * (array.ndim - 2)))
