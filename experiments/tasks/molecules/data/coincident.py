"""Atoms that are at one point: found in memory that grows with the atoms, not with their pairs."""

import functools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.spatial import KDTree

from experiments.data.npz import DataError
from experiments.tasks.molecules.data.periodic_pairs import pairs_within

COINCIDENT = 0.05
"""Angstrom: far below every bond, also of a file whose lengths are in nanometres."""
_FEW = 32
"""Atoms up to which all pairs of many molecules at once are faster than a tree for each."""
_SEARCHED = 1.5
"""Angstrom: the search within it is ten times as fast as within what is looked for."""
_PAIRS_AT_A_TIME = 1_000_000
_ATOMS_AT_A_TIME = 1000
"""Atoms whose neighbours are looked up before the first close pair ends the search."""


def refuse_coincident(
    species: Int[np.ndarray, "molecules atoms"],
    positions: Float[np.ndarray, "molecules atoms 3"],
    locations: Sequence[str],
    cells: Float[np.ndarray, "molecules 3 3"] | None = None,
    pbc: Bool[np.ndarray, "molecules 3"] | None = None,
) -> None:
    """Refuses molecules and crystals with two atoms, or images of atoms, at one point.

    Args:
      species: 0 for padding, which comes last.
      positions: in Angstrom, finite.
      locations: of the molecules, for errors.
      cells: lattice vectors in rows, in Angstrom; `None` for molecules.
      pbc: along which of them the atoms repeat; `None` for molecules.

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
            molecule, one, other = found
            points = positions[start + molecule]
            distance = float(np.linalg.norm(points[one] - points[other]))
            raise _too_close(locations[start + molecule], one, other, distance)
    if cells is None or pbc is None:
        return
    for index in np.flatnonzero(pbc.any(axis=1)).tolist():
        points, label = positions[index, species[index] > 0], locations[index]
        pairs, distances = pairs_within(points, cells[index], pbc[index], _SEARCHED, label=label)
        if len(distances) and distances.min() < COINCIDENT:
            nearest = int(np.argmin(distances))
            one, other = int(pairs.receivers[nearest]), int(pairs.senders[nearest])
            raise _too_close(label, one, other, distances[nearest])


def _too_close(label: str, one: int, other: int, distance: float) -> DataError:
    first, second = sorted((one + 1, other + 1))
    return DataError(
        f"{label}: atoms {first} and {second} must be at least {COINCIDENT} Angstrom apart, got "
        f"{distance:.3g} (is length_unit too small?)"
    )


def _in_pairs(species: np.ndarray, positions: np.ndarray) -> tuple[int, int, int] | None:
    """The first molecule with two such atoms, and these, among all pairs."""
    first, second = _pairs(species.shape[1])
    with np.errstate(over="ignore"):
        arms = positions[:, first] - positions[:, second]
        close = np.einsum("mpx,mpx->mp", arms, arms) < COINCIDENT**2
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
            _, nearest = tree.query(asked, k=2, distance_upper_bound=COINCIDENT)
            crowded = np.flatnonzero(nearest[:, 1] < len(points))
            if len(crowded):
                atom = start + int(crowded[0])
                one, other = nearest[crowded[0]].tolist()
                return molecule, atom, other if one == atom else one
    return None
