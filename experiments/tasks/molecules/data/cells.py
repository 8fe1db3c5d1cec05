"""Cells of periodic structures: their checks, their volume, and vectors where there are none."""

import os
from collections.abc import Sequence

import numpy as np
from ase.geometry import complete_cell
from jaxtyping import Bool, Float, Float64

from experiments.data.npz import DataError

FLAT = 1e-6
"""Volume of a cell relative to the product of the lengths of its vectors: below it, it has none."""


def checked_cells(
    cells: Float[np.ndarray, "snapshots 3 3"],
    pbc: Bool[np.ndarray, "snapshots 3"],
    locations: Sequence[str],
) -> Float64[np.ndarray, "snapshots 3 3"]:
    """The vectors that structures repeat along, in rows, and zeros where they do not.

    Args:
      cells: their cells, with a vector a row.
      pbc: along which vectors they repeat.
      locations: of the structures, for errors.

    Raises:
      DataError: a vector is missing or not finite, or the vectors are in one plane or line.
    """
    kept = np.where(pbc[..., None], cells, 0).astype(np.float64)
    for location, vectors, repeats in zip(locations, kept, pbc, strict=True):
        along = vectors[repeats]
        if not np.all(np.isfinite(along)):
            raise DataError(f"{location}: the cell must be finite, got {along.tolist()}")
        lengths = np.linalg.norm(along, axis=1)
        if np.any(lengths == 0):
            raise DataError(
                f"{location}: the cell must have a vector in each direction that repeats, got "
                f"{vectors.tolist()} with pbc {repeats.tolist()}"
            )
        directions = along / lengths[:, None]
        if np.sqrt(max(0.0, np.linalg.det(directions @ directions.T))) < FLAT:
            raise DataError(
                f"{location}: the cell must have a volume, got vectors in one plane or line, "
                f"{along.tolist()}"
            )
    return kept


def cells_of_snapshots(
    path: str | os.PathLike[str],
    cells: np.ndarray | None,
    pbc: np.ndarray | None,
    snapshots: int,
) -> dict[str, np.ndarray]:
    """Arrays of a file, which may be of all snapshots together, as `cells` and `pbc` of each.

    Args:
      path: the file, for errors.
      cells: vectors in rows; `None` for none.
      pbc: zeros and ones; `None` for all directions that have a vector.
      snapshots: how many there are.

    Raises:
      DataError: a wrong shape, or other numbers than zero and one.
    """
    vectors = np.zeros((3, 3)) if cells is None else cells
    if vectors.shape not in ((3, 3), (snapshots, 3, 3)):
        raise DataError(
            f"{path}: cells must have shape (3, 3) or ({snapshots}, 3, 3), with lattice vectors in "
            f"rows, got {vectors.shape}"
        )
    repeats = np.any(vectors != 0, axis=-1) if pbc is None else pbc
    if repeats.shape not in ((), (3,), (snapshots, 3)) or not np.all(np.isin(repeats, (0, 1))):
        raise DataError(
            f"{path}: pbc must be true or false, of shape (), (3,) or ({snapshots}, 3), got "
            f"{repeats.tolist() if repeats.size < 9 else f'an array of shape {repeats.shape}'}"
        )
    return {
        "cells": np.broadcast_to(vectors, (snapshots, 3, 3)),
        "pbc": np.broadcast_to(repeats.astype(bool), (snapshots, 3)),
    }


def completed_cell(
    cell: Float[np.ndarray, "3 3"], pbc: Bool[np.ndarray, " 3"]
) -> Float64[np.ndarray, "3 3"]:
    """A cell with unit vectors that are perpendicular to the others where it does not repeat."""
    return np.asarray(complete_cell(np.where(pbc[:, None], cell, 0)), np.float64)


def volumes(cells: Float[np.ndarray, "snapshots 3 3"]) -> Float64[np.ndarray, " snapshots"]:
    """Volumes of cells of either hand, in the cube of their unit."""
    return np.abs(np.linalg.det(cells.astype(np.float64)))
