"""Neighbours of each atom within a cutoff, in periodic structures too, as tables of equal rows.

The vector of an edge is `positions[sender] + image @ cell - positions[receiver]`, the receiver is
the row. Several images of one atom are several edges, and an atom may see images of its own.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int, Int32

from experiments.data.npz import DataError
from experiments.errors import UsageError
from experiments.tasks.molecules.data.coincident import COINCIDENT
from experiments.tasks.molecules.data.periodic_pairs import Search, pairs_within, refuse_too_many

_BYTES_A_SLOT = 16


def neighbour_table(
    positions: Float[np.ndarray, "atoms 3"],
    cell: Float[np.ndarray, "3 3"] | None,
    pbc: Bool[np.ndarray, " 3"] | None,
    cutoff: float,
    *,
    label: str = "structure",
    search: Search | None = None,
) -> tuple[Int32[np.ndarray, "atoms slots"], Int32[np.ndarray, "atoms slots 3"]]:
    """All neighbours of each atom, in memory that grows with the pairs that there are.

    Args:
      positions: in Angstrom, inside of the cell or outside.
      cell: rows are lattice vectors in Angstrom, of either hand; `None` for a molecule. Vectors
        that it does not repeat along do not matter.
      pbc: along which vectors it repeats; `None` for a molecule.
      cutoff: in Angstrom; the cell may be smaller.
      label: what the structure is called in errors.
      search: finds the pairs; by default `vesin_pairs`, or `ase_pairs` where vesin is missing.

    Returns:
      Senders and images, by rising sender and image. Rows are filled with the atom itself and the
      image zero, which is no edge. There is one slot or more.

    Raises:
      UsageError: the cutoff is not a positive number.
      DataError: the cell is missing or has no volume, a position is not finite, two atoms are at
        one place, or the table has no room in memory.
    """
    if not 0 < cutoff < np.inf:
        raise UsageError(f"cutoff must be a positive number, got {cutoff}")
    pairs, lengths = pairs_within(positions, cell, pbc, cutoff, label=label, search=search)
    if len(lengths) and lengths.min() < COINCIDENT:
        nearest = int(np.argmin(lengths))
        one, other = sorted((int(pairs.receivers[nearest]), int(pairs.senders[nearest])))
        raise DataError(
            f"{label}: atoms {one + 1} and {other + 1} must be at least {COINCIDENT} Angstrom apart, "
            f"also as images of each other, got {lengths[nearest]:.3g}"
        )
    order = np.lexsort((*pairs.images.T[::-1], pairs.senders, pairs.receivers))
    receivers, senders, images = (values[order] for values in pairs)
    atoms = len(positions)
    counts = np.bincount(receivers, minlength=atoms)
    slots = max(1, int(counts.max(initial=0)))
    refuse_too_many(label, atoms * slots * _BYTES_A_SLOT)
    column = np.arange(len(receivers)) - np.repeat(np.cumsum(counts) - counts, counts)
    table = np.tile(np.arange(atoms, dtype=np.int32)[:, None], (1, slots))
    shifts = np.zeros((atoms, slots, 3), np.int32)
    table[receivers, column] = senders
    shifts[receivers, column] = images
    return table, shifts


def neighbour_tables(
    positions: Float[np.ndarray, "snapshots atoms 3"],
    species: Int[np.ndarray, "snapshots atoms"],
    cell: Float[np.ndarray, "snapshots 3 3"] | None,
    pbc: Bool[np.ndarray, "snapshots 3"] | None,
    cutoff: float,
    *,
    labels: Sequence[str] | None = None,
) -> dict[str, np.ndarray]:
    """The tables of many structures, padded to one number of slots.

    Args:
      positions: in Angstrom.
      species: 0 for padding, which comes last and has no neighbours.
      cell: of each structure, as `neighbour_table` takes it; `None` if none is periodic.
      pbc: of each structure; `None` if none is periodic.
      cutoff: in Angstrom.
      labels: what structures are called in errors; by default by their numbers, from 1.

    Returns:
      `senders` `(snapshots, atoms, slots)` and `images` `(snapshots, atoms, slots, 3)`, int32.

    Raises:
      UsageError: as of `neighbour_table`.
      DataError: as of `neighbour_table`, or all tables together have no room in memory.
    """
    snapshots, atoms = species.shape
    names = labels or [f"snapshot {index + 1}" for index in range(snapshots)]
    tables = []
    for index, name in enumerate(names):
        real = int(np.sum(species[index] > 0))
        vectors = None if cell is None else cell[index]
        repeats = None if pbc is None else pbc[index]
        found = neighbour_table(positions[index, :real], vectors, repeats, cutoff, label=name)
        tables.append(found)
    slots = max((senders.shape[1] for senders, _ in tables), default=1)
    refuse_too_many(f"{snapshots} structures", snapshots * atoms * slots * _BYTES_A_SLOT)
    own = np.arange(atoms, dtype=np.int32)[:, None]
    all_senders = np.tile(own, (snapshots, 1, slots))
    all_images = np.zeros((snapshots, atoms, slots, 3), np.int32)
    for index, (senders, images) in enumerate(tables):
        real, used = senders.shape
        all_senders[index, :real, :used] = senders
        all_images[index, :real, :used] = images
    return {"senders": all_senders, "images": all_images}


def with_slots(
    senders: Int[np.ndarray, "*snapshots atoms slots"],
    images: Int[np.ndarray, "*snapshots atoms slots 3"],
    slots: int,
) -> tuple[Int[np.ndarray, "*snapshots atoms more"], Int[np.ndarray, "*snapshots atoms more 3"]]:
    """Tables of neighbours with more slots, which hold no edges."""
    *rows, atoms, found = senders.shape
    own = np.arange(atoms, dtype=senders.dtype)[:, None]
    rest = np.broadcast_to(own, (*rows, atoms, slots - found))
    wide = (*((0, 0),) * (len(rows) + 1), (0, slots - found), (0, 0))
    return np.concatenate([senders, rest], axis=-1), np.pad(images, wide)
