"""Arrays of all atoms of all structures, one after the other, as arrays with a row a structure."""

import os
from collections.abc import Mapping

import numpy as np
from jaxtyping import Int

from experiments.data.npz import DataError


def unpacked(
    path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Positions, forces and elements with one row a structure, padded with zeros.

    Args:
      path: the file, for errors.
      arrays: `num_atoms` `(snapshots,)`, `positions` and maybe `forces` `(all atoms, 3)`, `species`
        `(all atoms,)` or one number for all; others are left as they are.

    Returns:
      The arrays without `num_atoms`.

    Raises:
      DataError: shapes or numbers do not fit.
    """
    rest = dict(arrays)
    counts, atoms = _counts(path, rest.pop("num_atoms")), len(rest["positions"])
    if counts.sum() != atoms:
        raise DataError(
            f"{path}: num_atoms must sum to the {atoms} atoms that have positions, got "
            f"{counts.sum()}"
        )
    if rest["species"].size == 1:
        rest["species"] = np.full(atoms, rest["species"].item())
    for name, shape in (("positions", (atoms, 3)), ("forces", (atoms, 3)), ("species", (atoms,))):
        if name in rest and rest[name].shape != shape:
            raise DataError(
                f"{path}: {name} must have shape {shape}, as num_atoms are those of {atoms} atoms, "
                f"got {rest[name].shape}"
            )
    # Zero is no element here, and must not be taken for padding.
    rest["species"] = np.where(rest["species"] == 0, -1, rest["species"])
    real = np.arange(counts.max()) < counts[:, None]
    for name in ("positions", "forces", "species"):
        if name in rest:
            flat = rest[name]
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
