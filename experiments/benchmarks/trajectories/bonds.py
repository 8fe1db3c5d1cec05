"""The bonds of a molecule, and whether they hold."""

from typing import Any, NamedTuple

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from jaxtyping import Float, Int

APART = 2.0
"""Sums of the covalent radii: the length of a bond at which a molecule has come apart."""
_BONDED = 1.3
"""Sums of the covalent radii: the length below which two atoms are bonded at the start."""


class Bonds(NamedTuple):
    """Pairs of bonded atoms.

    Attributes:
      first: one atom of each pair.
      second: the other.
      radii: the sums of their covalent radii in angstrom.
    """

    first: Int[np.ndarray, " bonds"]
    second: Int[np.ndarray, " bonds"]
    radii: Float[np.ndarray, " bonds"]

    def arms(self, positions: Any) -> Any:
        """The vectors from the second to the first atoms, of an array of NumPy or JAX."""
        return positions[self.first] - positions[self.second]

    def stretch(self, positions: Float[np.ndarray, "atoms 3"]) -> float:
        """The longest bond, in sums of the covalent radii."""
        lengths = np.linalg.norm(self.arms(positions), axis=1)
        return float(np.max(lengths / self.radii, initial=0))


def bonds_of(atoms: Atoms) -> Bonds:
    """The bonds of a molecule, from the distances of its atoms."""
    first, second = np.triu_indices(len(atoms), 1)
    radii = covalent_radii[atoms.numbers]
    pairs = Bonds(first, second, radii[first] + radii[second])
    lengths = np.linalg.norm(pairs.arms(atoms.positions), axis=1)
    return Bonds(*(leaf[lengths < _BONDED * pairs.radii] for leaf in pairs))
