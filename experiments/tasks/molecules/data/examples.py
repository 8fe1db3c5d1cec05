"""Examples for a network: the arrays of the three sets, and what the training set says."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from ase.data import chemical_symbols
from jaxtyping import Float64, Int

from experiments.data.cache import Arrays
from experiments.data.checks import finite_single
from experiments.data.npz import DataError
from experiments.tasks.molecules.centred import centred
from experiments.tasks.molecules.data.molecules import Molecules

_NOTHING = 1e-6
"""In eV, eV/Angstrom or e*Angstrom: a smaller scale of targets is rounding, and 1 is taken."""
_RANK = 1e-9
"""Singular values of compositions below it, relative to the largest, are rounding."""


class MoleculeFacts(NamedTuple):
    """What the training snapshots of a set say about it; plain numbers, to be stored as JSON.

    Attributes:
      elements: their atomic numbers, in rising order.
      references: energy of an atom of each element in eV. Their sums over molecules are closest to
        the energies in the mean square; where several fit equally, they are the smallest numbers.
        Zeros without energies.
      scale: root mean square of what is learnt. With forces, of their components, in eV/Angstrom;
        of energies alone, of what the references leave over the square root of the number of
        atoms, in eV; of the components of dipoles, in e*Angstrom, and of polarizabilities, in
        Angstrom^3. 1 where that is below 1e-6.
      undetermined: the matrix that projects numbers of atoms of each element on what no training
        molecule has, so that references there are arbitrary: with all of one composition, as in a
        simulation, only its own energy is known. Empty without energies.
    """

    elements: tuple[int, ...]
    references: tuple[float, ...]
    scale: float
    undetermined: tuple[tuple[float, ...], ...] = ()


class Part(NamedTuple):
    """The snapshots of one of the three sets, and where they come from.

    Attributes:
      source: a file or the name of a simulated molecule, for errors.
      numbers: of the snapshots in the source, from 0.
      molecules: the snapshots.
    """

    source: str
    numbers: Int[np.ndarray, " snapshots"]
    molecules: Molecules


def make_examples(parts: Mapping[str, Part]) -> tuple[dict[str, Arrays], MoleculeFacts]:
    """Arrays to learn from: centred, above the references, padded to one number of atoms.

    Args:
      parts: `"train"`, `"valid"` and `"test"`.

    Returns:
      The arrays of each set, as `load_molecules` describes them, and what the training set says.

    Raises:
      DataError: a set has an element that the training set lacks, or a number beyond float32.
    """
    train = parts["train"].molecules
    elements = np.unique(train.species[train.species > 0])
    for split, part in parts.items():
        _refuse_unknown_elements(split, part, elements)
    facts = _facts(train, elements)
    atoms = max(int(np.sum(part.molecules.species > 0, axis=1).max()) for part in parts.values())
    periodic = any(part.molecules.cells is not None for part in parts.values())
    splits = {}
    for split, (source, _, molecules) in parts.items():
        species = _padded(molecules.species, atoms)
        wanted = {"positions": centred(_padded(molecules.positions, atoms), species > 0)}
        if molecules.energies is not None:
            references = _composition(species, elements) @ np.array(facts.references)
            wanted["energy"] = molecules.energies - references
        if molecules.forces is not None:
            wanted["forces"] = _padded(molecules.forces, atoms)
        if molecules.dipoles is not None:
            wanted["dipole"] = molecules.dipoles
        if molecules.polarizabilities is not None:
            wanted["polarizability"] = molecules.polarizabilities
        if molecules.stresses is not None:
            wanted["stress"] = molecules.stresses
        if periodic:
            wanted["cell"] = _or_zeros(molecules.cells, (len(species), 3, 3))
        arrays = {name: finite_single(source, name, array) for name, array in wanted.items()}
        if periodic:
            arrays["pbc"] = _or_zeros(molecules.pbc, (len(species), 3)).astype(bool)
        indices = np.where(species > 0, np.searchsorted(elements, species) + 1, 0)
        splits[split] = arrays | {"species": indices.astype(np.int32)}
    return splits, facts


def _refuse_unknown_elements(
    split: str, part: Part, elements: Int[np.ndarray, " elements"]
) -> None:
    species = part.molecules.species
    unknown = np.argwhere((species > 0) & ~np.isin(species, elements))
    if len(unknown):
        snapshot, atom = unknown[0]
        known = ", ".join(chemical_symbols[number] for number in elements)
        raise DataError(
            f"{part.source}: snapshot {part.numbers[snapshot] + 1}, which is for {split}: elements "
            f"must be those of the training snapshots, {known}, got "
            f"{chemical_symbols[species[snapshot, atom]]} ({len(np.unique(unknown[:, 0]))} of "
            f"{len(species)} snapshots have such; a larger num_train may have more elements)"
        )


def _facts(train: Molecules, elements: Int[np.ndarray, " elements"]) -> MoleculeFacts:
    real = train.species > 0
    references = np.zeros(len(elements))
    values, undetermined = np.zeros(1), np.zeros((0, len(elements)))
    if train.energies is not None:
        counts = _composition(train.species, elements)
        references = np.linalg.lstsq(counts, train.energies, rcond=None)[0]
        # Hundreds of equal rows leave rounding that looks like more of them.
        distinct = np.unique(counts, axis=0)
        undetermined = np.eye(len(elements)) - np.linalg.pinv(distinct, rcond=_RANK) @ distinct
        values = (train.energies - counts @ references) / np.sqrt(np.sum(real, axis=1))
    if train.forces is not None:
        values = train.forces[real]
    if train.dipoles is not None:
        values = train.dipoles
    if train.polarizabilities is not None:
        values = train.polarizabilities
    scale = float(np.sqrt(np.mean(values**2)))
    return MoleculeFacts(
        tuple(elements.tolist()),
        tuple(references.tolist()),
        scale if scale > _NOTHING else 1.0,
        # Zeros that are rounding are none.
        tuple(map(tuple, np.where(np.abs(undetermined) < _NOTHING, 0.0, undetermined).tolist())),
    )


def _or_zeros(array: np.ndarray | None, shape: tuple[int, ...]) -> np.ndarray:
    return np.zeros(shape) if array is None else array


def _composition(
    species: Int[np.ndarray, "snapshots atoms"], elements: Int[np.ndarray, " elements"]
) -> Float64[np.ndarray, "snapshots elements"]:
    return np.sum(species[..., None] == elements, axis=1, dtype=np.float64)


def _padded(array: np.ndarray, atoms: int) -> np.ndarray:
    missing = max(0, atoms - array.shape[1])
    return np.pad(array[:, :atoms], ((0, 0), (0, missing), *((0, 0),) * (array.ndim - 2)))
