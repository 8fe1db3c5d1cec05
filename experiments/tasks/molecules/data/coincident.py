"""Atoms that are at one point: found in memory that grows with the atoms, not with their pairs."""

import functools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial import KDTree

from experiments.data.npz import DataError

_COINCIDENT = 0.05
"""Angstrom: far below every bond, also of a file whose lengths are in nanometres."""
_FEW = 32
"""Atoms up to which all pairs of many molecules at once are faster than a tree for each."""
_PAIRS_AT_A_TIME = 1_000_000
_ATOMS_AT_A_TIME = 1000
"""Atoms whose neighbours are looked up before the first close pair ends the search."""


def refuse_coincident(
    species: Int[np.ndarray, "molecules atoms"],
    positions: Float[np.ndarray, "molecules atoms 3"],
    locations: Sequence[str],
) -> None:
    """Refuses molecules with two atoms at one point.

    Args:
      species: 0 for padding, which comes last.
      positions: in Angstrom, finite.
      locations: of the molecules, for errors.

    Raises:
      DataError: there are such atoms.
    """
    molecules, atoms = species.shape
    chunk = max(1, _PAIRS_AT_A_TIME // max(1, atoms**2)) if atoms <= _FEW else 1
    find = _in_pairs if atoms <= _FEW else _in_trees
    for start in range(0, molecules, chunk):
        part = slice(start, start + chunk)
        found = find(species[part], positions[part])
        if found is not None:
            molecule, *pair = found
            one, other = sorted(pair)
            points = positions[start + molecule]
            distance = np.linalg.norm(points[one] - points[other])
            raise DataError(
                f"{locations[start + molecule]}: atoms {one + 1} and {other + 1} must be at least "
                f"{_COINCIDENT} Angstrom apart, got {distance:.3g} (is length_unit too small?)"
            )


def _in_pairs(species: np.ndarray, positions: np.ndarray) -> tuple[int, int, int] | None:
    """The first molecule with two such atoms, and these, among all pairs."""
    first, second = _pairs(species.shape[1])
    with np.errstate(over="ignore"):
        arms = positions[:, first] - positions[:, second]
        close = np.einsum("mpx,mpx->mp", arms, arms) < _COINCIDENT**2
    if not close.any():
        return None
    # Padding comes last, so a pair is real if its second atom is.
    near = np.argwhere(close & (species[:, second] > 0))
    return (int(near[0, 0]), int(first[near[0, 1]]), int(second[near[0, 1]])) if len(near) else None


@functools.cache
def _pairs(atoms: int) -> tuple[np.ndarray, np.ndarray]:
    first, second = np.triu_indices(atoms, k=1)
    return first, second


def _in_trees(species: np.ndarray, positions: np.ndarray) -> tuple[int, int, int] | None:
    """The same, by the neighbours of each atom in a tree."""
    for molecule, (numbers, padded) in enumerate(zip(species, positions, strict=True)):
        points = padded[numbers > 0]
        tree = KDTree(points)
        for start in range(0, len(points), _ATOMS_AT_A_TIME):
            asked = points[start : start + _ATOMS_AT_A_TIME]
            # An atom and its nearest, or the two nearest if more are at one point.
            _, nearest = tree.query(asked, k=2, distance_upper_bound=_COINCIDENT)
            crowded = np.flatnonzero(nearest[:, 1] < len(points))
            if len(crowded):
                atom = start + int(crowded[0])
                one, other = nearest[crowded[0]].tolist()
                return molecule, atom, other if one == atom else one
    return None
