"""Molecular dynamics of a molecule in an energy written in JAX, a compiled loop for any time step."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ase import Atoms, units
from ase.data import covalent_radii
from jaxtyping import Array, Float, Key

import symjax_frames as sf
from experiments.tasks.molecules.calculator import Energy, Precision, enabled, value_and_slope

_BONDED = 1.3
"""Sums of the covalent radii: the length below which two atoms are bonded where a molecule starts."""
_HBAR = units._hbar * units.J * units.second


class State(NamedTuple):
    """A molecule in motion, in angstrom, eV, atomic mass units, and the time that they make."""

    positions: Float[Array, "atoms 3"]
    velocities: Float[Array, "atoms 3"]
    potential: Float[Array, ""]
    slope: Float[Array, "atoms 3"]
    key: Key[Array, ""]


class Record(NamedTuple):
    """What is known of a state: numbers, or arrays of them along a trajectory.

    Attributes:
      energy: the total energy in eV.
      temperature: the kinetic energy in kelvin, that of shifts and rotations included.
      spin: the length of the angular momentum about the centre of mass, in units of hbar.
      gap: the smallest difference of two principal moments, relative to the largest.
      stretch: the longest of the bonds of the start, in sums of the covalent radii.
      dropped: the weight of the elements that did not fit into the frame, which is to be zero.
    """

    energy: np.ndarray
    temperature: np.ndarray
    spin: np.ndarray
    gap: np.ndarray
    stretch: np.ndarray
    dropped: np.ndarray


class Motion:
    """The dynamics of one molecule in one potential, compiled once.

    Args:
      energy: in eV, of positions in angstrom and species.
      species: of the atoms, as `energy` takes them.
      atoms: the molecule, for its elements and its bonds.
      dtype: the precision of all that is computed.
      dropped: the weight that the frame of the energy has dropped, of what the energy takes; by
        default zero.
    """

    def __init__(
        self,
        energy: Energy,
        species: np.ndarray,
        atoms: Atoms,
        dtype: Precision = "float64",
        dropped: Energy | None = None,
    ):
        self.atoms, self._dtype = atoms, dtype
        first, second = np.triu_indices(len(atoms), 1)
        radii = covalent_radii[atoms.numbers]
        lengths = np.linalg.norm(atoms.positions[first] - atoms.positions[second], axis=1)
        bonded = lengths < _BONDED * (radii[first] + radii[second])
        self._bonds = first[bonded], second[bonded]
        self._lengths = (radii[first] + radii[second])[bonded]
        # Of two atoms one rotation turns nothing.
        self._freedoms = max(3 * len(atoms) - 6, 1)
        self._slope = lambda positions: value_and_slope(energy)(positions, species)
        self._dropped = lambda positions: (
            jnp.zeros(()) if dropped is None else dropped(positions, species)
        )
        self._compiled = jax.jit(self._advance)

    def begin(
        self, positions: np.ndarray, velocities: np.ndarray | None = None, seed: int = 0
    ) -> tuple[State, Record]:
        """A molecule at the start of its motion, at rest by default; the seed is that of its bath."""
        positions = np.asarray(positions, self._dtype)
        velocities = np.zeros_like(positions) if velocities is None else velocities
        moving = np.asarray(velocities, self._dtype)
        with enabled(self._dtype):
            key = jax.random.key(seed)
            still = State(
                jnp.asarray(positions),
                jnp.asarray(moving),
                jnp.zeros((), self._dtype),
                jnp.zeros_like(positions),
                key,
            )
        # A step that takes no time finds the forces with what is compiled anyway.
        return self.advance(still, 1, 0.0)

    def advance(
        self,
        state: State,
        steps: int,
        time_step: float,
        friction: float = 0.0,
        temperature: float = 0.0,
    ) -> tuple[State, Record]:
        r"""Moves on by steps of Langevin dynamics, which without friction are velocity Verlet.

        A step of length $h$ is half a kick and half a drift, then
        $v \leftarrow c v + \sqrt{(1 - c^2) kT / m}\,\xi$ with $c = e^{-\gamma h}$, then the other half
        drift and half kick.

        Args:
          state: where it is.
          steps: how many.
          time_step: in femtoseconds.
          friction: the rate at which velocities are forgotten, per femtosecond.
          temperature: of the bath, in kelvin.

        Returns:
          Where it is then, and what is known of it.

        References:
          Leimkuhler and Matthews, Rational construction of stochastic numerical methods for molecular
          sampling, arXiv:1203.5428.
        """
        numbers = (
            time_step * units.fs,
            np.exp(-friction * time_step),
            temperature * units.kB,
        )
        with enabled(self._dtype):
            state, record = self._compiled(
                state, np.int32(steps), *(np.asarray(each, self._dtype) for each in numbers)
            )
            return state, Record(*(np.asarray(each, np.float64) for each in record))

    def _advance(
        self,
        state: State,
        steps: Array,
        time_step: Float[Array, ""],
        kept: Float[Array, ""],
        heat: Float[Array, ""],
    ) -> tuple[State, tuple[Array, ...]]:
        masses = jnp.asarray(self.atoms.get_masses()[:, None], self._dtype)
        half = time_step / 2
        noise = jnp.sqrt((1 - kept**2) * heat / masses)

        def step(index: Array, state: State) -> State:
            positions, velocities, _, slope, key = state
            key, draw = jax.random.split(key)
            velocities = velocities - half * slope / masses
            positions = positions + half * velocities
            velocities = kept * velocities
            velocities += noise * jax.random.normal(draw, positions.shape, positions.dtype)
            positions = positions + half * velocities
            value, slope = self._slope(positions)
            return State(positions, velocities - half * slope / masses, value, slope, key)

        state = jax.lax.fori_loop(0, steps, step, state)
        return state, self._record(state, masses)

    def _record(self, state: State, masses: Float[Array, "atoms 1"]) -> tuple[Array, ...]:
        total = jnp.sum(masses)
        kinetic = jnp.sum(masses * state.velocities**2) / 2
        arms, swift = (
            each - jnp.sum(masses * each, axis=0, keepdims=True) / total
            for each in (state.positions, state.velocities)
        )
        spin = jnp.linalg.norm(jnp.sum(masses * jnp.cross(arms, swift), axis=0)) / _HBAR
        first, second = self._bonds
        bonds = jnp.linalg.norm(state.positions[first] - state.positions[second], axis=1)
        return (
            state.potential + kinetic,
            2 * kinetic / (self._freedoms * units.kB),
            spin,
            sf.spectral_gap(state.positions),
            jnp.max(bonds / jnp.asarray(self._lengths, bonds.dtype), initial=0),
            self._dropped(state.positions),
        )
