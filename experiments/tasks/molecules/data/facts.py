"""What the training snapshots of a set say about it: elements, their energies, and a scale."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from ase.data import chemical_symbols
from jaxtyping import Float64, Int

from experiments.errors import UsageError
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

    def species_of(self, numbers: Sequence[int] | Int[np.ndarray, " atoms"]) -> np.ndarray:
        """The species the network knows, counted from one, of atomic numbers; 0 of 0.

        Raises:
          UsageError: if there was no such element in the training set.
        """
        numbers = np.asarray(numbers)
        elements = np.array((0, *self.elements))
        strange = sorted(set(numbers.ravel().tolist()) - set(elements.tolist()))
        if strange:
            known = ", ".join(chemical_symbols[number] for number in self.elements)
            raise UsageError(
                f"elements must be those of the training set, got the element "
                f"{chemical_symbols[strange[0]]}, which was not trained on, beside {known}"
            )
        return np.searchsorted(elements, numbers).astype(np.int32)

    def reference(self, numbers: Sequence[int] | Int[np.ndarray, " atoms"]) -> float:
        """The sum of the energies of the atoms in eV, which the network does not learn."""
        references = np.array((0.0, *self.references))
        return float(np.sum(references[self.species_of(numbers)]))

    def determined(self, numbers: Sequence[int] | Int[np.ndarray, " atoms"]) -> bool:
        """Whether the training molecules say what `reference` is for these atoms."""
        elements = np.asarray(self.elements)
        counts = np.sum(np.asarray(numbers)[:, None] == elements, axis=0)
        unknown = np.reshape(self.undetermined, (-1, len(elements))) @ counts
        return bool(np.all(np.abs(unknown) < 1e-3))

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> "MoleculeFacts":
        """The facts that were stored as JSON.

        Raises:
          KeyError: one is missing.
          TypeError: one is of another kind.
          ValueError: one is of another kind.
        """
        return cls(
            tuple(stored["elements"]),
            tuple(stored["references"]),
            float(stored["scale"]),
            tuple(map(tuple, stored["undetermined"])),
        )


class Survey(NamedTuple):
    """What is summed up of snapshots that need not be in memory at once.

    Attributes:
      elements: their atomic numbers, in rising order.
      composition: numbers of atoms of each.
      energies: in eV, if there are any.
      squares: sums over each snapshot of the squares of the components of forces, dipoles or
        polarizabilities; `None` where there are none of these.
      components: their number in all.
      periodic: whether any snapshot is.
      stressed: how many repeat in all three directions, and have a stress that is to be learnt;
        `None` where none is.
    """

    elements: Int[np.ndarray, " elements"]
    composition: Float64[np.ndarray, "snapshots elements"]
    energies: Float64[np.ndarray, " snapshots"] | None
    squares: Float64[np.ndarray, " snapshots"] | None
    components: int
    periodic: bool
    stressed: int | None


def survey(windows: Iterable[Molecules]) -> Survey:
    """Looks through snapshots once.

    Args:
      windows: some of them at a time, with the same quantities each time.
    """
    elements, compositions, energies, squares = [], [], [], []
    components, periodic, stressed = 0, False, None
    for molecules in windows:
        elements.append(np.unique(molecules.species[molecules.species > 0]))
        compositions.append(composition_of(molecules.species, elements[-1]))
        if molecules.energies is not None:
            energies.append(molecules.energies)
        found, count = _squares(molecules)
        if found is not None:
            squares.append(found)
        components += count
        periodic |= molecules.cells is not None
        if molecules.stresses is not None:
            crystals = 0 if molecules.pbc is None else int(molecules.pbc.all(axis=1).sum())
            stressed = crystals + (stressed or 0)
    together = np.unique(np.concatenate(elements))
    ends = np.cumsum([len(part) for part in compositions])
    composition = np.zeros((int(ends[-1]), len(together)))
    for own, part, end in zip(elements, compositions, ends, strict=True):
        composition[end - len(part) : end, np.searchsorted(together, own)] = part
    return Survey(
        together,
        composition,
        np.concatenate(energies) if energies else None,
        np.concatenate(squares) if squares else None,
        components,
        periodic,
        stressed,
    )


def facts_of(train: Survey) -> MoleculeFacts:
    """What a survey of the training snapshots says."""
    elements, counts, energies, squares, components, *_ = train
    references, undetermined = np.zeros(len(elements)), np.zeros((0, len(elements)))
    if energies is not None:
        references = np.linalg.lstsq(counts, energies, rcond=None)[0]
        # Hundreds of equal rows leave rounding that looks like more of them.
        distinct = np.unique(counts, axis=0)
        undetermined = np.eye(len(elements)) - np.linalg.pinv(distinct, rcond=_RANK) @ distinct
        if squares is None:
            squares = (energies - counts @ references) ** 2 / np.sum(counts, axis=1)
            components = len(energies)
    scale = 0.0 if squares is None else float(np.sqrt(np.sum(squares) / components))
    return MoleculeFacts(
        tuple(elements.tolist()),
        tuple(references.tolist()),
        scale if scale > _NOTHING else 1.0,
        # Zeros that are rounding are none.
        tuple(map(tuple, np.where(np.abs(undetermined) < _NOTHING, 0.0, undetermined).tolist())),
    )


def composition_of(
    species: Int[np.ndarray, "snapshots atoms"], elements: Int[np.ndarray, " elements"]
) -> Float64[np.ndarray, "snapshots elements"]:
    """Numbers of atoms of each element."""
    return np.sum(species[..., None] == elements, axis=1, dtype=np.float64)


def _squares(molecules: Molecules) -> tuple[Float64[np.ndarray, " snapshots"] | None, int]:
    """The sum over each snapshot, and the number of components of all of them."""
    _, _, _, forces, dipoles, polarizabilities, *_ = molecules
    if forces is not None:
        # Over the atoms first: however many zeros pad them, the sum is rounded alike.
        return np.sum(np.sum(forces**2, axis=1), axis=1), 3 * int(np.sum(molecules.species > 0))
    values = dipoles if polarizabilities is None else polarizabilities
    if values is None:
        return None, 0
    return np.sum(values.reshape(len(values), -1) ** 2, axis=1), values.size
