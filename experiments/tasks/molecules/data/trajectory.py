"""A trajectory from snapshot to snapshot, with other noise where it fails."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from jaxtyping import Float
from rich.console import Console
from scipy.sparse.csgraph import connected_components

from experiments.data.npz import DataError
from experiments.tasks.molecules.data.langevin import Bath, State, advance
from experiments.tasks.molecules.data.xtb import Labels, PotentialError

_TRIES = 4
_BROKEN = 2.0
"""Times the sum of two covalent radii: a distance that is certainly no bond."""


class Trajectory(NamedTuple):
    """The motion of a molecule, which is the same for the same arguments.

    Attributes:
      name: what the molecule is called.
      atoms: the molecule, at rest.
      potential: maps positions to energy and forces.
      bath: temperature and friction of what it moves in, and the time step.
      seed: of the velocities at the start and of the noise.
    """

    name: str
    atoms: Atoms
    potential: Callable[[Float[np.ndarray, "atoms 3"]], Labels]
    bath: Bath
    seed: int

    def start(self) -> State:
        """The molecule with the velocities of its temperature.

        Raises:
          DataError: there is no energy at its positions.
        """
        deviation = np.sqrt(self.bath.heat / self.atoms.get_masses())[:, None]
        draws = self._generator().standard_normal(self.atoms.positions.shape)
        try:
            labels = self.potential(self.atoms.positions)
        except PotentialError as error:
            raise DataError(
                f"{self.name}: no energy at the start ({error}): the molecule must be one that "
                "GFN2-xTB can treat"
            ) from error
        return State(self.atoms.positions, deviation * draws, labels)

    def reach(self, state: State, steps: int, snapshot: int) -> State:
        """Moves the molecule on. If a try fails, a line on standard error says why.

        Args:
          state: the molecule before.
          steps: of the integrator.
          snapshot: the number of the snapshot to reach, from 1, which the noise depends on; 0 for
            the state after equilibration.

        Returns:
          The molecule in one piece, after these steps.

        Raises:
          DataError: every try failed.
        """
        what = f"{self.name}, {f'snapshot {snapshot}' if snapshot else 'equilibration'}"
        for attempt in range(_TRIES):
            try:
                moved = advance(
                    state,
                    self.potential,
                    self.atoms.get_masses(),
                    self.bath,
                    steps,
                    self._generator(snapshot, attempt),
                )
                self._refuse_fragments(moved.positions)
                return moved
            except PotentialError as error:
                reason = error
                Console(stderr=True).print(
                    f"{what}: {error} (try {attempt + 1} of {_TRIES}, each with other noise)",
                    soft_wrap=True,
                    markup=False,
                    highlight=False,
                )
        raise DataError(
            f"{what}: failed {_TRIES} times, the last time because: {reason}. A lower temperature, "
            "a shorter time_step_fs, fewer snapshots or another seed may help"
        ) from reason

    def _generator(self, *key: int) -> np.random.Generator:
        # Each snapshot has its own noise: a simulation that goes on needs no generator's state.
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=key))

    def _refuse_fragments(self, positions: Float[np.ndarray, "atoms 3"]) -> None:
        radii = covalent_radii[self.atoms.numbers]
        apart = np.linalg.norm(positions[:, None] - positions[None, :], axis=2)
        bonded = apart < _BROKEN * (radii[:, None] + radii[None, :])
        _, pieces = connected_components(bonded, directed=False)
        lost = np.sum(pieces != pieces[0])
        if lost:
            raise PotentialError(f"{lost} of {len(radii)} atoms came off")
