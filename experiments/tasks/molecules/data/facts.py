"""What a training set says about molecules beside what is learnt from it: elements and energies."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from ase.data import chemical_symbols
from jaxtyping import Int

from experiments.errors import UsageError


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
