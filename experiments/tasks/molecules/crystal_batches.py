"""Periodic structures for a potential, many at once, padded to a few sizes."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from ase import Atoms
from jaxtyping import Float, Int

from experiments.tasks.molecules.data.neighbour_table import with_slots
from experiments.tasks.molecules.energies import Precision
from experiments.tasks.molecules.neighbour_list import surroundings_of
from experiments.tasks.molecules.networks.neighbour_table import Surroundings
from experiments.tasks.molecules.periodic import with_whole_cell

_STEP = 1.25
"""How far apart sizes of programs are: to compile one takes longer than some padding."""


class Crystal(NamedTuple):
    """A periodic structure, or several of one size, as a potential takes it.

    Attributes:
      positions: about their mean, in Angstrom.
      species: of the atoms, 0 for padding.
      surroundings: what each of them sees.
    """

    positions: Float[np.ndarray, "*structures atoms 3"]
    species: Int[np.ndarray, "*structures atoms"]
    surroundings: Surroundings


def crystal_of(
    label: str, atoms: Atoms, species: Int[np.ndarray, " atoms"], reach: float
) -> Crystal:
    """Looks up the neighbours of periodic atoms.

    Args:
      label: what they are called in errors.
      atoms: the structure, at finite positions.
      species: of its atoms.
      reach: how far an atom sees, in Angstrom.

    Returns:
      The structure, in as many slots as it needs.

    Raises:
      DataError: as of `neighbour_table`.
    """
    found = surroundings_of(atoms.positions, atoms.cell.array, atoms.pbc, reach, label)
    positions, surroundings = with_whole_cell(atoms, *found)
    return Crystal(positions, species, surroundings)


def size_of(crystal: Crystal) -> tuple[int, int]:
    """The numbers of atoms and of slots of the smallest program that a structure fits into."""
    atoms, slots = crystal.surroundings.senders.shape
    return size_above(atoms), size_above(slots)


def together(
    crystals: Sequence[Crystal], dtype: Precision, least: tuple[int, int] = (0, 0)
) -> Crystal:
    """Structures as a batch, of the size of the largest.

    Args:
      crystals: the structures.
      dtype: of lengths.
      least: atoms and slots that there is room for in any case.
    """
    size = tuple(np.max([least, *map(size_of, crystals)], axis=0).tolist())
    stacked = jax.tree.map(lambda *rows: np.stack(rows), *(_padded(one, *size) for one in crystals))
    with np.errstate(over="ignore", invalid="ignore"):
        cell = stacked.surroundings.cell.astype(dtype)
        positions = stacked.positions.astype(dtype)
    return Crystal(positions, stacked.species, stacked.surroundings._replace(cell=cell))


def _padded(crystal: Crystal, atoms: int, slots: int) -> Crystal:
    positions, species, surroundings = crystal
    senders, images, cell = map(np.asarray, surroundings)
    more = atoms - len(species)
    senders, images = with_slots(senders, images, slots)
    own = np.arange(len(species), atoms, dtype=senders.dtype)[:, None]
    senders = np.concatenate([senders, np.broadcast_to(own, (more, slots))])
    images = np.pad(images, ((0, more), (0, 0), (0, 0)))
    wide: Any = (senders, images, cell)
    return Crystal(
        np.pad(positions, ((0, more), (0, 0))), np.pad(species, (0, more)), Surroundings(*wide)
    )


def size_above(count: int) -> int:
    """The smallest number of atoms or slots, of those that programs have, that is no less."""
    size = 1
    while size < count:
        size = max(size + 1, int(_STEP * size))
    return size
