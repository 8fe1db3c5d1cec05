"""Molecular dynamics at constant energy in a potential written in JAX: one compiled loop."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ase import Atoms, units
from jaxtyping import Array, Float

import symjax_frames as sf
from experiments.benchmarks.trajectories.bonds import bonds_of
from experiments.tasks.molecules.energies import Energy, Precision, enabled, value_and_slope

_HBAR = units._hbar * units.J * units.second


class State(NamedTuple):
    """A molecule in motion, in angstrom, eV, atomic mass units, and the time that they make."""

    positions: Float[Array, "atoms 3"]
    velocities: Float[Array, "atoms 3"]
    potential: Float[Array, ""]
    slope: Float[Array, "atoms 3"]


class Record(NamedTuple):
    """The numbers that describe a state, or arrays of them along a trajectory.

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
    """The dynamics of one molecule in one potential, compiled once for all time steps.

    ASE integrates as well, but a step of it takes a millisecond of Python, and a trajectory has
    tens of thousands.

    Args:
      energy: in eV, of positions in angstrom and species.
      species: of the atoms, as `energy` takes them.
      atoms: the molecule, for its elements and its bonds.
      dtype: the precision of all that is computed.
      dropped: the weight that the frame of the energy has dropped, a function of the same
        arguments; by default zero.
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
        self._bonds = bonds_of(atoms)
        # Of two atoms one rotation turns nothing.
        self._freedoms = max(3 * len(atoms) - 6, 1)
        self._slope = lambda positions: value_and_slope(energy)(positions, species)
        self._dropped = lambda positions: (
            jnp.zeros(()) if dropped is None else dropped(positions, species)
        )
        self._compiled = jax.jit(self._advance)

    def begin(self, positions: np.ndarray, velocities: np.ndarray) -> tuple[State, Record]:
        """A molecule at the start of its motion."""
        with enabled(self._dtype):
            still = State(
                jnp.asarray(positions, self._dtype),
                jnp.asarray(velocities, self._dtype),
                jnp.zeros((), self._dtype),
                jnp.zeros(np.shape(positions), self._dtype),
            )
        # A step that takes no time finds the forces with what is compiled anyway.
        return self.advance(still, 1, 0.0)

    def advance(self, state: State, steps: int, time_step: float) -> tuple[State, Record]:
        r"""Moves on by steps of velocity Verlet.

        A step of length $h$ is $v \leftarrow v + h f(x) / 2m$, $x \leftarrow x + h v$ and
        $v \leftarrow v + h f(x) / 2m$, with the forces $f$.

        Args:
          state: before them.
          steps: how many.
          time_step: in femtoseconds.

        Returns:
          The state after them, and the numbers that describe it.
        """
        with enabled(self._dtype):
            step = np.asarray(time_step * units.fs, self._dtype)
            state, record = self._compiled(state, np.int32(steps), step)
            return state, Record(*(np.asarray(value, np.float64) for value in record))

    def _advance(
        self, state: State, steps: Array, time_step: Float[Array, ""]
    ) -> tuple[State, tuple[Array, ...]]:
        masses = jnp.asarray(self.atoms.get_masses()[:, None], self._dtype)
        half = time_step / 2

        def step(index: Array, state: State) -> State:
            velocities = state.velocities - half * state.slope / masses
            positions = state.positions + time_step * velocities
            value, slope, _ = self._slope(positions)
            return State(positions, velocities - half * slope / masses, value, slope)

        state = jax.lax.fori_loop(0, steps, step, state)
        return state, self._record(state, masses)

    def _record(self, state: State, masses: Float[Array, "atoms 1"]) -> tuple[Array, ...]:
        total = jnp.sum(masses)
        kinetic = jnp.sum(masses * state.velocities**2) / 2
        arms, velocities = (
            leaf - jnp.sum(masses * leaf, axis=0, keepdims=True) / total
            for leaf in (state.positions, state.velocities)
        )
        spin = jnp.linalg.norm(jnp.sum(masses * jnp.cross(arms, velocities), axis=0)) / _HBAR
        lengths = jnp.linalg.norm(self._bonds.arms(state.positions), axis=1)
        radii = jnp.asarray(self._bonds.radii, lengths.dtype)
        return (
            state.potential + kinetic,
            2 * kinetic / (self._freedoms * units.kB),
            spin,
            sf.spectral_gap(state.positions),
            jnp.max(lengths / radii, initial=0),
            self._dropped(state.positions),
        )
