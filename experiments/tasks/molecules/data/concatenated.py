"""Arrays of all atoms of all structures, one after the other, as arrays with a row a structure."""

import os
from collections.abc import Mapping

import numpy as np
from jaxtyping import Int

from experiments.data.npz import DataError

_OF_ATOMS = ("positions", "forces", "species", "num_atoms")


def atom_counts(
    path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray]
) -> Int[np.ndarray, " snapshots"]:
    """The number of atoms of each structure.

    Args:
      path: the file, for errors.
      arrays: `num_atoms` `(snapshots,)`, `positions` and maybe `forces` `(all atoms, 3)`, `species`
        `(all atoms,)` or one number for all.

    Raises:
      DataError: shapes or numbers do not fit.
    """
    counts, atoms = _counts(path, arrays["num_atoms"]), len(arrays["positions"])
    if counts.sum() != atoms:
        raise DataError(
            f"{path}: num_atoms must sum to the {atoms} atoms that have positions, got "
            f"{counts.sum()}"
        )
    for name, shape in (("positions", (atoms, 3)), ("forces", (atoms, 3)), ("species", (atoms,))):
        one = name == "species" and arrays[name].size == 1
        if name in arrays and arrays[name].shape != shape and not one:
            raise DataError(
                f"{path}: {name} must have shape {shape}, as num_atoms are those of {atoms} atoms, "
                f"got {arrays[name].shape}"
            )
    return counts


def unpacked(
    arrays: Mapping[str, np.ndarray], counts: Int[np.ndarray, " snapshots"], chosen: slice
) -> dict[str, np.ndarray]:
    """Some structures with one row each of positions, forces and elements, padded with zeros.

    Args:
      arrays: as of `atom_counts`; others have a row a structure.
      counts: the number of atoms of each structure.
      chosen: those that are asked for, without steps.

    Returns:
      The rows of the arrays, without `num_atoms`.
    """
    ends = np.concatenate([[0], np.cumsum(counts)])
    own = counts[chosen]
    first = ends[chosen.start]
    of_atoms = slice(first, first + own.sum())
    real = np.arange(own.max()) < own[:, None]
    rest = {name: array[chosen] for name, array in arrays.items() if name not in _OF_ATOMS}
    for name in _OF_ATOMS[:-1]:
        if name in arrays:
            array = arrays[name]
            flat = np.full(own.sum(), array.item()) if array.size == 1 else array[of_atoms]
            if name == "species":
                # Zero is no element here, and must not be taken for padding.
                flat = np.where(flat == 0, -1, flat)
            rest[name] = np.zeros((*real.shape, *flat.shape[1:]), flat.dtype)
            rest[name][real] = flat
    return rest


def _counts(path: str | os.PathLike[str], counts: np.ndarray) -> Int[np.ndarray, " snapshots"]:
    if counts.ndim != 1 or counts.size == 0 or np.any((counts < 1) | (counts % 1 != 0)):
        raise DataError(
            f"{path}: num_atoms must be a list of numbers of atoms, at least 1 each, got "
            f"{counts.tolist() if counts.size < 9 else f'an array of shape {counts.shape}'}"
        )
    return counts.astype(np.int64)
