"""Crystals at rest: relaxed with their cell."""

from typing import Any

from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS


def at_rest(
    atoms: Atoms, calculator: Calculator, force: float, steps: int
) -> tuple[Atoms, int, bool]:
    """Moves atoms and cell down to a minimum of the energy, by BFGS.

    Args:
      atoms: a crystal, which stays as it is.
      calculator: of energies, forces and stresses.
      force: in eV/Angstrom, of the atoms and of what moves the cell: where it ends.
      steps: the most to take.

    Returns:
      The crystal there with its calculator, how many steps were taken, and whether it came to rest.
    """
    moving = atoms.copy()
    moving.calc = calculator
    both: Any = FrechetCellFilter(moving)
    optimizer = BFGS(both, logfile=None)
    converged = optimizer.run(fmax=force, steps=steps)
    return moving, optimizer.nsteps, bool(converged)
