"""All pairs of atoms within a cutoff, images of atoms too, in memory that grows with the pairs."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from ase.neighborlist import primitive_neighbor_list
from jaxtyping import Bool, Float, Float64, Int

from experiments.data.npz import DataError
from experiments.memory import free_memory
from experiments.tasks.molecules.data.cells import checked_cells, completed_cell, volumes

_BYTES_A_PAIR = 80
"""What a search needs for a pair: two indices, an image and a vector, and copies to sort them."""


class Pairs(NamedTuple):
    """Pairs of atoms in both directions.

    Attributes:
      receivers: the atoms that see others.
      senders: those that they see.
      images: numbers of lattice vectors that are added to senders.
    """

    receivers: Int[np.ndarray, " pairs"]
    senders: Int[np.ndarray, " pairs"]
    images: Int[np.ndarray, "pairs 3"]


type Search = Callable[[np.ndarray, np.ndarray, np.ndarray, float], Pairs]
"""From positions, a cell with a volume, pbc and a cutoff to all pairs."""


def pairs_within(
    positions: Float[np.ndarray, "atoms 3"],
    cell: Float[np.ndarray, "3 3"] | None,
    pbc: Bool[np.ndarray, " 3"] | None,
    cutoff: float,
    *,
    label: str,
    search: Search | None = None,
) -> tuple[Pairs, Float64[np.ndarray, " pairs"]]:
    """All pairs within a cutoff, and their distances.

    Args:
      positions: in Angstrom, inside of the cell or outside.
      cell: rows are lattice vectors, of either hand; `None` for a molecule. Those that it does not
        repeat along do not matter.
      pbc: along which vectors it repeats; `None` for a molecule.
      cutoff: in Angstrom; the cell may be smaller.
      label: what the structure is called in errors.
      search: finds the pairs; by default `vesin_pairs`, or `ase_pairs` where vesin is missing.

    Raises:
      DataError: the cell is missing or has no volume, a position is not finite, or the pairs have
        no room in memory.
    """
    points = np.ascontiguousarray(positions, np.float64)
    if not np.all(np.isfinite(points)):
        raise DataError(f"{label}: positions must be finite, got some that are not")
    repeats = np.zeros(3, bool) if pbc is None else np.asarray(pbc, bool)
    vectors = np.zeros((3, 3)) if cell is None else np.asarray(cell, np.float64)
    [kept] = checked_cells(vectors[None], repeats[None], [label])
    whole = completed_cell(kept, repeats)
    refuse_too_many(label, _expected(points, whole, repeats, cutoff) * _BYTES_A_PAIR)
    pairs = (search or _installed())(points, whole, repeats, cutoff)
    arms = points[pairs.senders] + pairs.images @ kept - points[pairs.receivers]
    return pairs, np.sqrt(np.einsum("px,px->p", arms, arms))


def vesin_pairs(positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray, cutoff: float) -> Pairs:
    """All pairs by vesin, which must be installed."""
    from vesin import NeighborList

    search = NeighborList(cutoff=cutoff, full_list=True)
    receivers, senders, images = search.compute(positions, cell, pbc, "ijS")
    return Pairs(receivers.astype(np.int64), senders.astype(np.int64), images)


def ase_pairs(positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray, cutoff: float) -> Pairs:
    """All pairs by ASE, which takes thirty times as long."""
    return Pairs(*primitive_neighbor_list("ijS", pbc, cell, positions, cutoff))


def refuse_too_many(label: str, needed: float) -> None:
    """Refuses what needs more bytes than there are.

    Raises:
      DataError: the bytes are not free.
    """
    free = free_memory()
    if free is not None and needed > free:
        raise DataError(
            f"{label}: neighbours must fit into memory, of which {free / 1e9:.1f} GB are free, got "
            f"{needed / 1e9:.3g} GB (is the cutoff too large, or the length unit another one?)"
        )


def _installed() -> Search:
    try:
        import vesin  # noqa: F401
    except ImportError:
        return ase_pairs
    return vesin_pairs


def _expected(points: np.ndarray, cell: np.ndarray, pbc: np.ndarray, cutoff: float) -> float:
    """How many pairs there are if atoms are spread evenly over the cell, or over where they are."""
    if len(points) == 0:
        return 0.0
    # A plane or a line of atoms has no volume, but its atoms see no further than the cutoff.
    extent = np.maximum(np.ptp(points @ np.linalg.inv(cell), axis=0), cutoff)
    scale = np.where(pbc, 1.0, extent)
    density = len(points) / volumes((cell * scale[:, None])[None])[0]
    return len(points) * density * 4 / 3 * np.pi * cutoff**3
