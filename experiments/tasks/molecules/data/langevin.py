"""Langevin dynamics of one molecule: samples of its shapes at a temperature.

ASE has an integrator of its own, `ase.md.langevin.Langevin`. The one here has no error of the time
step in the positions of a harmonic molecule, and draws the noise of each call from the generator
that it is given, so that a simulation can go on bit for bit.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from experiments.tasks.molecules.data.xtb import Labels


class State(NamedTuple):
    """A molecule in motion.

    Attributes:
      positions: in angstrom.
      velocities: in angstrom per ASE unit of time.
      labels: the energy and what else belongs to these positions.
    """

    positions: Float[np.ndarray, "atoms 3"]
    velocities: Float[np.ndarray, "atoms 3"]
    labels: Labels


class Bath(NamedTuple):
    """What a molecule moves in.

    Attributes:
      heat: the temperature times Boltzmann's constant, in eV.
      friction: the rate at which velocities are forgotten, in 1 / time.
      time_step: of the integrator.
    """

    heat: float
    friction: float
    time_step: float


def advance(
    state: State,
    potential: Callable[[Float[np.ndarray, "atoms 3"]], Labels],
    masses: Float[np.ndarray, " atoms"],
    bath: Bath,
    steps: int,
    generator: np.random.Generator,
) -> State:
    r"""Moves a molecule by steps of Langevin dynamics, and its centre of mass to the origin.

    A step is half a kick and half a drift, then $v \leftarrow c v + \sqrt{(1 - c^2) kT / m}\,\xi$
    with $c = e^{-\gamma h}$, then the other half drift and half kick. In a harmonic potential the
    positions have the Boltzmann distribution whatever the time step is.

    Args:
      state: the molecule before.
      potential: maps positions to energy and forces.
      masses: of the atoms, in atomic mass units.
      bath: temperature, friction and time step, in the units of ASE.
      steps: how many.
      generator: draws the noise.

    Returns:
      The molecule after these steps.

    References:
      Leimkuhler and Matthews, Rational construction of stochastic numerical methods for molecular
      sampling, arXiv:1203.5428.
    """
    positions, velocities, labels = state
    column = masses[:, None]
    half = bath.time_step / 2
    kept = np.exp(-bath.friction * bath.time_step)
    noise = np.sqrt((1 - kept**2) * bath.heat / column)
    for _ in range(steps):
        velocities = velocities + half * labels.forces / column
        positions = positions + half * velocities
        velocities = kept * velocities + noise * generator.standard_normal(positions.shape)
        positions = positions + half * velocities
        labels = potential(positions)
        velocities = velocities + half * labels.forces / column
    # A dipole would depend on the origin if the molecule were charged; it is neutral.
    return State(positions - masses @ positions / masses.sum(), velocities, labels)
