"""A neighbour list with a skin, which stays right while atoms and the cell move a little."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from experiments.errors import UsageError
from experiments.tasks.molecules.centred import centred
from experiments.tasks.molecules.data.cells import checked_cells, completed_cell
from experiments.tasks.molecules.data.neighbour_table import neighbour_table, with_slots
from experiments.tasks.molecules.networks.neighbour_table import Surroundings

SKIN = 0.5
"""In Angstrom, by default."""
_SPARE = 1.1
"""Slots in proportion to those that a list needs which has more than there were."""
_ROUND = 8
"""Numbers of slots are multiples of it."""
_FEW = 48
"""Slots up to which a molecule has one for each other atom."""


class _Reference(NamedTuple):
    """What a list was made for, and the list."""

    positions: Float[np.ndarray, "atoms 3"]
    cell: Float[np.ndarray, "3 3"]
    pbc: Bool[np.ndarray, " 3"]
    wraps: Float[np.ndarray, "atoms 3"]
    senders: Int[np.ndarray, "atoms slots"]
    images: Int[np.ndarray, "atoms slots 3"]


class NeighbourList:
    r"""The neighbours of each atom within a cutoff, looked up again only when they may differ.

    A list holds all pairs within the cutoff $c$ and a skin $s$. The deformation $F$ leads from the
    cell that it was made for to the present one, and atoms are at most $u$ away from where it would
    have moved them. A pair that is not in the list is then farther apart than $\sigma (c + s) - 2u$
    with the smallest singular value $\sigma$ of $F$: while this is no less than $c$, the list is
    whole, in a cell that shrinks or shears too.

    There are as many slots for each atom, and more when they are too few, never less again: a
    program that is compiled for their number serves many lists.

    Args:
      cutoff: in Angstrom.
      skin: in Angstrom; with zero, a list is for one structure.

    Attributes:
      searches: how often neighbours were looked up.

    Raises:
      UsageError: a number is not as it must be.
    """

    def __init__(self, cutoff: float, skin: float = SKIN) -> None:
        if not 0 < cutoff < np.inf:
            raise UsageError(f"cutoff must be a positive number, got {cutoff!r}")
        if not 0 <= skin < np.inf:
            raise UsageError(f"skin must be a number from 0, got {skin!r}")
        self.cutoff = cutoff
        self.skin = skin
        self.searches = 0
        self._slots = 0
        self._last: _Reference | None = None

    def __reduce__(self) -> tuple[type, tuple[float, float]]:
        """What it is pickled as: without a list."""
        return NeighbourList, (self.cutoff, self.skin)

    def __call__(
        self,
        positions: Float[np.ndarray, "atoms 3"],
        cell: Float[np.ndarray, "3 3"],
        pbc: Bool[np.ndarray, " 3"],
        label: str = "structure",
    ) -> tuple[Float[np.ndarray, "atoms 3"], Surroundings]:
        """The atoms about their mean, as images of them in one cell, and what each sees.

        Args:
          positions: in Angstrom, finite, inside of the cell or outside.
          cell: its vectors in rows; those that nothing repeats along do not matter.
          pbc: along which vectors it repeats.
          label: what the structure is called in errors.

        Raises:
          DataError: as of `neighbour_table`.
        """
        repeats = np.asarray(pbc, bool)
        [kept] = checked_cells(np.asarray(cell, np.float64)[None], repeats[None], [label])
        last = self._last
        if last is None or not self._holds(last, positions, kept, repeats):
            last = self._search(positions, kept, repeats, label)
            self._last = last
        table: Any = (last.senders, last.images, kept)
        return centred(positions - last.wraps @ kept), Surroundings(*table)

    def _holds(
        self, last: _Reference, positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray
    ) -> bool:
        if positions.shape != last.positions.shape or not np.array_equal(pbc, last.pbc):
            return False
        moved, stretch = last.positions, 1.0
        if not np.array_equal(cell, last.cell):
            before, now = completed_cell(last.cell, pbc), completed_cell(cell, pbc)
            deformation = np.linalg.solve(before, now)
            moved = moved @ deformation
            stretch = float(np.linalg.svd(deformation, compute_uv=False)[-1])
        # A common shift is no displacement.
        away = centred(positions - moved)
        farthest = float(np.sqrt(np.max(np.einsum("ax,ax->a", away, away))))
        return stretch * (self.cutoff + self.skin) - 2 * farthest >= self.cutoff

    def _search(
        self, positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray, label: str
    ) -> _Reference:
        wraps = _wraps(positions, cell, pbc)
        senders, images = neighbour_table(
            positions - wraps @ cell, cell, pbc, self.cutoff + self.skin, label=label
        )
        self.searches += 1
        atoms, found = senders.shape
        if found > self._slots:
            self._slots = _ROUND * int(np.ceil(_SPARE * found / _ROUND))
        slots = self._slots
        if not np.any(pbc):
            slots = min(max(slots, _FEW), max(1, atoms - 1))
        return _Reference(positions.copy(), cell, pbc, wraps, *with_slots(senders, images, slots))


def surroundings_of(
    positions: Float[np.ndarray, "atoms 3"],
    cell: Float[np.ndarray, "3 3"],
    pbc: Bool[np.ndarray, " 3"],
    cutoff: float,
    label: str,
) -> tuple[Float[np.ndarray, "atoms 3"], Surroundings]:
    """What a list without a skin, and without more slots than it needs, says of one structure.

    The arguments and errors are those of `NeighbourList`.
    """
    repeats = np.asarray(pbc, bool)
    [kept] = checked_cells(np.asarray(cell, np.float64)[None], repeats[None], [label])
    inside = positions - _wraps(positions, kept, repeats) @ kept
    table: Any = (*neighbour_table(inside, kept, repeats, cutoff, label=label), kept)
    return centred(inside), Surroundings(*table)


def _wraps(
    positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray
) -> Float[np.ndarray, "atoms 3"]:
    """How many cells each atom is away from the first one.

    Of atoms that are many cells apart, single precision would not know how far they are.
    """
    fractions = np.linalg.solve(completed_cell(cell, pbc).T, positions.T).T
    return np.where(pbc, np.floor(fractions), 0)
