"""Periodic atoms: whether a potential may be asked for them, and the volume of their stress."""

from typing import Any

import numpy as np
from ase import Atoms
from jaxtyping import Float

from experiments.errors import UsageError
from experiments.tasks.molecules.data.cells import FLAT, volumes
from experiments.tasks.molecules.networks.neighbour_table import Surroundings


def refuse_periodic(label: str, atoms: Atoms, reach: float | None, way_out: str = "") -> None:
    """Refuses periodic atoms where an energy needs a whole molecule.

    Args:
      label: what the atoms are called in errors.
      atoms: any.
      reach: how far an atom sees in Angstrom; `None` of an energy of whole molecules.
      way_out: what else can be done, for the error.

    Raises:
      UsageError: they are periodic and there is no `reach`.
    """
    if reach is None and np.any(atoms.pbc):
        raise UsageError(
            f"{label}: atoms.pbc must be False with an energy of whole molecules, got periodic atoms, "
            f"pbc = {atoms.pbc.tolist()}; potentials of crystals are trained with model.frame=local"
            f"{way_out}"
        )


def whole_cell(atoms: Atoms) -> Float[np.ndarray, "3 3"] | None:
    """The cell of periodic atoms, of a slab or a wire too, if all three vectors span a volume."""
    cell = atoms.cell.array
    if not np.any(atoms.pbc) or not np.all(np.isfinite(cell)):
        return None
    spanned = volumes(cell[None])[0] > FLAT * np.prod(np.linalg.norm(cell, axis=1))
    return cell if spanned else None


def with_whole_cell(
    atoms: Atoms, positions: np.ndarray, surroundings: Surroundings
) -> tuple[np.ndarray, Surroundings]:
    """The same, with the vectors too that nothing repeats along: for the volume that ASE takes."""
    cell: Any = whole_cell(atoms)
    return positions, surroundings if cell is None else surroundings._replace(cell=cell)
