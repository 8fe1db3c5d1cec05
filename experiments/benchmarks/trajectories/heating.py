"""The start of a trajectory: a molecule at a temperature, without drift and rotation."""

from typing import NamedTuple

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import CalculationFailed
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import Stationary, ZeroRotation
from jaxtyping import Float

from experiments.benchmarks.trajectories.bonds import APART, bonds_of
from experiments.errors import ExperimentError

_RELAXING, _DAMPING = 100.0, 1 / 20
"""Femtoseconds that a molecule relaxes without noise, and the friction per femtosecond."""
_HEATING, _FRICTION = 1000.0, 1 / 50
"""The same at the temperature of the bath."""


class Start(NamedTuple):
    """Where a trajectory starts, in angstrom and in angstrom per ASE unit of time."""

    positions: Float[np.ndarray, "atoms 3"]
    velocities: Float[np.ndarray, "atoms 3"]


def thermalize(atoms: Atoms, temperature: float, seed: int, time_step: float) -> Start:
    """Relaxes a molecule, heats it for a picosecond, and stops its drift and rotation.

    It moves by the Langevin dynamics of ASE.

    Args:
      atoms: a molecule with a calculator; it is left as it is.
      temperature: of the bath, in kelvin.
      seed: draws the noise of the bath.
      time_step: in femtoseconds.

    Returns:
      Its state after that, about its centre of mass.

    Raises:
      ExperimentError: it comes apart, or has no finite energy.
    """
    moving, bonds = atoms.copy(), bonds_of(atoms)
    moving.calc = atoms.calc
    generator = np.random.default_rng(seed)
    for time, friction, heat in ((_RELAXING, _DAMPING, 0.0), (_HEATING, _FRICTION, temperature)):
        dynamics = Langevin(
            moving,
            time_step * units.fs,
            temperature_K=heat,
            friction=friction / units.fs,
            fixcm=False,
            rng=generator,
        )
        try:
            dynamics.run(round(time / time_step))
            whole = bonds.stretch(moving.positions) <= APART
        except CalculationFailed:
            whole = False
        if not whole:
            raise ExperimentError(
                f"{atoms.symbols}: the molecule must hold together as the first model heats it to "
                f"{temperature:g} K, but it came apart: take another model or a lower temperature"
            )
    moving.positions -= moving.get_center_of_mass()
    Stationary(moving, preserve_temperature=False)
    ZeroRotation(moving, preserve_temperature=False)
    return Start(moving.positions, moving.get_velocities())
