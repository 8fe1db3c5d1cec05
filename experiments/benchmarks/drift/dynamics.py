"""Molecular dynamics at constant energy: velocity Verlet of ASE with a potential in JAX."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from experiments.benchmarks.drift.molecules import Molecule
from experiments.errors import UsageError

try:
    from ase import Atoms, units
    from ase.calculators.calculator import Calculator
    from ase.md.velocitydistribution import Stationary, ZeroRotation
    from ase.md.verlet import VelocityVerlet
except ImportError:
    raise UsageError(
        "the package ase, which integrates the motion, must be installed: "
        "pip install -e '.[experiments]'"
    ) from None


class Run(NamedTuple):
    """A trajectory.

    Attributes:
      times: in femtoseconds.
      energies: the total energy above that of the start, in meV an atom.
      positions: in angstrom.
    """

    times: Float[np.ndarray, " steps"]
    energies: Float[np.ndarray, " steps"]
    positions: Float[np.ndarray, "steps points 3"]

    @property
    def rms(self) -> float:
        """The root mean square of the energies."""
        return float(np.sqrt(np.mean(self.energies**2)))

    @property
    def largest(self) -> float:
        """The largest deviation of the energy."""
        return float(np.max(np.abs(self.energies)))

    @property
    def drift(self) -> float:
        """The slope of a line fitted to the energies, in meV an atom and picosecond."""
        return float(1e3 * np.polyfit(self.times, self.energies, 1)[0])


def simulate(molecule: Molecule, calculator: Calculator, step: float, count: int) -> Run:
    """Runs a molecule for a number of steps.

    Args:
      molecule: where it starts.
      calculator: its potential.
      step: the time step in femtoseconds.
      count: how many.

    Returns:
      The trajectory, its start included.
    """
    atoms = Atoms(molecule.numbers, molecule.positions)
    atoms.set_velocities(molecule.directions)
    Stationary(atoms, preserve_temperature=False)
    ZeroRotation(atoms, preserve_temperature=False)
    atoms.set_momenta(atoms.get_momenta() * np.sqrt(molecule.kinetic / atoms.get_kinetic_energy()))
    atoms.calc = calculator
    energies, positions = [], []

    def record() -> None:
        energies.append(atoms.get_total_energy())
        positions.append(atoms.get_positions())

    motion = VelocityVerlet(atoms, timestep=step * units.fs)
    motion.attach(record)
    motion.run(count)
    above = 1e3 * (np.array(energies) - energies[0]) / len(atoms)
    return Run(step * np.arange(count + 1), above, np.array(positions))
