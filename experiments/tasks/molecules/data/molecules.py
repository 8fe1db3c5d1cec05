"""Snapshots of molecules as arrays."""

from collections.abc import Collection
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int, Int32, Int64


class Molecules(NamedTuple):
    """Snapshots of molecules, padded with zeros to one number of atoms.

    Attributes:
      species: atomic numbers, 0 for padding, which comes last.
      positions: in Angstrom.
      energies: in eV, if there are any.
      forces: in eV/Angstrom, if there are any.
      dipoles: in elementary charges times Angstrom, if there are any.
      polarizabilities: as volumes in Angstrom^3, if there are any.
      cells: lattice vectors in rows, in Angstrom, zeros where there are none; `None` if no snapshot
        is periodic.
      pbc: along which lattice vectors snapshots repeat; `None` if no snapshot is periodic.
      stresses: in eV/Angstrom^3, positive under tension, if there are any; zeros for what does not
        repeat in all three directions.
    """

    species: Int32[np.ndarray, "snapshots atoms"]
    positions: Float64[np.ndarray, "snapshots atoms 3"]
    energies: Float64[np.ndarray, " snapshots"] | None
    forces: Float64[np.ndarray, "snapshots atoms 3"] | None
    dipoles: Float64[np.ndarray, "snapshots 3"] | None
    polarizabilities: Float64[np.ndarray, "snapshots 3 3"] | None = None
    cells: Float64[np.ndarray, "snapshots 3 3"] | None = None
    pbc: Bool[np.ndarray, "snapshots 3"] | None = None
    stresses: Float64[np.ndarray, "snapshots 3 3"] | None = None


def marks_of(molecules: Molecules) -> Int64[np.ndarray, " snapshots"]:
    """Numbers that are the same for snapshots of the same atoms, positions and cells.

    They are hashes of 64 bits: two others have the same by chance once in 2**64 pairs.
    """
    real, cells = molecules.species > 0, molecules.cells
    return np.array(
        [
            hash(
                (
                    species[mask].tobytes(),
                    positions[mask].tobytes(),
                    b"" if cells is None or not cells[index].any() else cells[index].tobytes(),
                )
            )
            for index, (species, positions, mask) in enumerate(
                zip(*molecules[:2], real, strict=True)
            )
        ],
        np.int64,
    )


def snapshots_at(
    molecules: Molecules, need: Collection[str], numbers: Int[np.ndarray, " chosen"]
) -> Molecules:
    """Some of the snapshots, in the order of their numbers, with what is needed of them.

    Args:
      molecules: the snapshots.
      need: the quantities that are kept, beside atoms, positions and cells.
      numbers: of the snapshots, from 0.
    """
    kept = ("species", "positions", "cells", "pbc", *need)
    rows: list[Any] = [
        None if array is None or name not in kept else array[numbers]
        for name, array in molecules._asdict().items()
    ]
    return Molecules(*rows)
