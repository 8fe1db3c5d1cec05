"""What an atom sees: its neighbours within a cutoff, periodic images included, and its cell."""

import itertools
from typing import NamedTuple

import numpy as np
from ase import Atoms
from jaxtyping import Float, Int

from experiments.errors import UsageError
from experiments.tasks.molecules.data.cells import completed_cell
from experiments.tasks.molecules.data.neighbour_table import neighbour_table

MOST_NEIGHBOURS = 200
"""With more, a picture would show nothing."""


class Environment(NamedTuple):
    """An atom and its neighbours, in the order of their distances.

    Attributes:
      name: what the atom is called.
      cutoff: up to which distance it sees others, in angstrom.
      positions: the atom, then its neighbours, in angstrom.
      numbers: their atomic numbers.
      atoms: what neighbours are called in their cell.
      images: the lattice vectors that are added to each neighbour.
      cell: the ends of the edges of the cell that the atom is in, along which it repeats.
    """

    name: str
    cutoff: float
    positions: Float[np.ndarray, "points 3"]
    numbers: Int[np.ndarray, " points"]
    atoms: tuple[str, ...]
    images: Int[np.ndarray, "neighbours 3"]
    cell: Float[np.ndarray, "edges 2 3"]

    @property
    def vectors(self) -> Float[np.ndarray, "neighbours 3"]:
        """From the atom to its neighbours, in angstrom."""
        return self.positions[1:] - self.positions[0]

    @property
    def labels(self) -> list[str]:
        """The name of the atom, and the numbers of its neighbours from 1: images share names."""
        return [self.name, *(str(number + 1) for number in range(len(self.atoms)))]


def environment_of(label: str, atoms: Atoms, number: int, cutoff: float) -> Environment:
    """What an atom of a molecule or a crystal sees.

    Args:
      label: what the structure is called in errors.
      atoms: the structure.
      number: of the atom, from 1.
      cutoff: in angstrom; the cell may be smaller.

    Raises:
      UsageError: there is no such atom, the cutoff is not a positive number, or the neighbours are
        more than 200.
      DataError: as of `neighbour_table`.
    """
    if not 1 <= number <= len(atoms):
        raise UsageError(f"--atom: must be from 1 to {len(atoms)} for {label}, got {number}")
    if not 0 < cutoff < np.inf:
        raise UsageError(f"--cutoff: must be a positive number of angstrom, got {cutoff}")
    senders, images = neighbour_table(
        atoms.positions, atoms.cell.array, atoms.pbc, cutoff, label=label
    )
    centre, senders, images = number - 1, senders[number - 1], images[number - 1]
    real = (senders != centre) | np.any(images != 0, axis=1)
    senders, images = senders[real], images[real]
    if len(senders) > MOST_NEIGHBOURS:
        raise UsageError(
            f"--cutoff: must leave at most {MOST_NEIGHBOURS} neighbours to draw, got {len(senders)} "
            f"within {cutoff:g} angstrom of atom {number} of {label}"
        )
    positions = atoms.positions[senders] + images @ atoms.cell.array
    distances = np.linalg.norm(positions - atoms.positions[centre], axis=1)
    # Of equal distances but for rounding, the order of the table stays.
    order = np.argsort(distances.round(6), kind="stable")
    names = [f"{symbol}{index}" for index, symbol in enumerate(atoms.symbols, start=1)]
    return Environment(
        names[centre],
        cutoff,
        np.concatenate([atoms.positions[[centre]], positions[order]]),
        atoms.numbers[[centre, *senders[order]]],
        tuple(names[sender] for sender in senders[order]),
        images[order],
        _edges(atoms, atoms.positions[centre]),
    )


def _edges(atoms: Atoms, inside: Float[np.ndarray, " 3"]) -> Float[np.ndarray, "edges 2 3"]:
    """The edges, along which the structure repeats, of the cell that a point is in."""
    cell = np.where(atoms.pbc[:, None], atoms.cell.array, 0)
    along = np.flatnonzero(atoms.pbc)
    steps = inside @ np.linalg.inv(completed_cell(cell, atoms.pbc))
    # An atom on a face is in the cell that begins there, whatever its rounding.
    origin = np.where(atoms.pbc, np.floor(steps + 1e-6), 0) @ cell
    edges = []
    for axis in along:
        others = [other for other in along if other != axis]
        for corner in itertools.product((0, 1), repeat=len(others)):
            start = origin + np.array(corner, float) @ cell[others]
            edges.append([start, start + cell[axis]])
    return np.array(edges).reshape(-1, 2, 3)
