"""Snapshots of one set that are in another, in whatever order, unit, format or orientation."""

import warnings
from collections.abc import Iterator

import numpy as np
from jaxtyping import Float64, Int
from scipy.spatial import KDTree
from scipy.spatial.distance import pdist

from experiments.tasks.molecules.data.examples import Part
from experiments.tasks.molecules.data.molecules import Molecules

_ROUNDED = 2e-3
"""In Angstrom: what three decimals of coordinates leave of distances."""


def warn_of_copies(split: str, part: Part, train: Part) -> None:
    """Warns of snapshots that are also trained on: errors on them say nothing of other molecules.

    Copies are molecules of the same atoms with the same distances between atoms of each two
    elements, up to the rounding of files. So a molecule that was moved, turned, reflected or has
    its atoms in another order is a copy, and one whose atoms moved by more is none. Of periodic
    structures the cells are alike too; copies whose atoms are in other images are not found.

    Args:
      split: what the snapshots are for.
      part: the snapshots.
      train: those that are trained on.
    """
    copies = sorted(_all_copies(part, train))
    if copies:
        copy, original = copies[0]
        same = len({copy for copy, _ in copies})
        warnings.warn(
            f"{part.source}: snapshot {part.numbers[copy] + 1}, which is for {split}, is snapshot "
            f"{train.numbers[original] + 1} of {train.source}, which is trained on, up to a "
            f"rotation and {_ROUNDED} Angstrom; {same} of {len(part.numbers)} snapshots are such "
            "copies",
            stacklevel=3,
        )


def _all_copies(part: Part, train: Part) -> Iterator[tuple[int, int]]:
    """The same as `_copies`, of sets that may come some snapshots at a time."""
    first = 0
    for molecules in part.windows():
        start = 0
        for others in train.windows():
            for copy, original in _copies(molecules, others):
                yield first + copy, start + original
            start += len(others.species)
        first += len(molecules.species)


def _copies(molecules: Molecules, others: Molecules) -> Iterator[tuple[int, int]]:
    """Pairs of indices of molecules and of their copies among others."""
    known = _by_composition(others)
    for composition, rows in _by_composition(molecules).items():
        if composition not in known:
            continue
        candidates = known[composition]
        # Distances to the centroid are fewer than those between atoms, and nearly as telling.
        radii, references = _radii(molecules, rows), _radii(others, candidates)
        near, nearest = KDTree(references).query(radii, p=np.inf, distance_upper_bound=_ROUNDED)
        for row in np.flatnonzero(np.isfinite(near)).tolist():
            one, other = int(rows[row]), int(candidates[nearest[row]])
            alike = np.allclose(_sides(molecules, one), _sides(others, other), 0, _ROUNDED)
            if alike and np.allclose(
                _distances(molecules, one), _distances(others, other), 0, _ROUNDED
            ):
                yield one, other


def _by_composition(molecules: Molecules) -> dict[bytes, Int[np.ndarray, " molecules"]]:
    groups: dict[bytes, list[int]] = {}
    for index, species in enumerate(np.sort(molecules.species, axis=1)):
        groups.setdefault(species[species > 0].tobytes(), []).append(index)
    return {composition: np.array(rows) for composition, rows in groups.items()}


def _radii(
    molecules: Molecules, rows: Int[np.ndarray, " molecules"]
) -> Float64[np.ndarray, "molecules atoms"]:
    """Distances to the centroid, in rising order for each element, of molecules of one formula."""
    atoms = int(np.sum(molecules.species[rows[0]] > 0))
    species, positions = molecules.species[rows, :atoms], molecules.positions[rows, :atoms]
    radii = np.linalg.norm(positions - positions.mean(axis=1, keepdims=True), axis=2)
    order = np.lexsort((radii, species), axis=1)
    return np.take_along_axis(radii, order, axis=1)


def _sides(molecules: Molecules, index: int) -> Float64[np.ndarray, " sides"]:
    """Lengths of the sides and of the diagonals of faces of the cell, in rising order."""
    if molecules.cells is None:
        return np.zeros(9)
    first, second, third = cell = molecules.cells[index]
    across = [
        one + sign * other
        for one, other in ((first, second), (second, third), (third, first))
        for sign in (1, -1)
    ]
    return np.sort(np.linalg.norm([*cell, *across], axis=1))


def _distances(molecules: Molecules, index: int) -> Float64[np.ndarray, " pairs"]:
    """Distances between atoms, in rising order for each two elements."""
    real = molecules.species[index] > 0
    species = molecules.species[index, real].astype(np.int64)
    pairs = np.add.outer(species, species) * 256 + np.abs(np.subtract.outer(species, species))
    upper = np.triu_indices(len(species), k=1)
    distances = pdist(molecules.positions[index, real])
    return distances[np.lexsort((distances, pairs[upper]))]
