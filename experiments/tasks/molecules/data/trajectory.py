"""A trajectory from frame to frame, with other noise where it fails."""

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float
from rich.console import Console

from experiments.data.npz import DataError
from experiments.tasks.molecules.data.langevin import Bath, State, advance
from experiments.tasks.molecules.data.xtb import Labels, PotentialError

if TYPE_CHECKING:
    from ase import Atoms

_TRIES = 4
_BROKEN = 2.0
"""Times the sum of two covalent radii: a distance that is certainly no bond."""


class Trajectory(NamedTuple):
    """How a molecule moves, the same for the same arguments.

    Attributes:
      name: what the molecule is called.
      atoms: the molecule, at rest.
      potential: positions to energy and forces.
      bath: what it moves in.
      seed: of all that is drawn.
    """

    name: str
    atoms: "Atoms"
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
                f"{self.name}: no energy at the start ({error}); allowed: a molecule that "
                "GFN2-xTB can treat"
            ) from error
        return State(self.atoms.positions, deviation * draws, labels)

    def reach(self, state: State, steps: int, frame: int) -> State:
        """Moves on; a try that fails is said on standard error.

        Args:
          state: where the molecule is.
          steps: how many.
          frame: the number of the frame to reach, from 1, which the noise depends on; 0 if it is
            the state after equilibration.

        Returns:
          Where it is then, in one piece.

        Raises:
          DataError: every try failed.
        """
        what = f"{self.name}, {f'frame {frame}' if frame else 'equilibration'}"
        for attempt in range(_TRIES):
            try:
                moved = advance(
                    state,
                    self.potential,
                    self.atoms.get_masses(),
                    self.bath,
                    steps,
                    self._generator(frame, attempt),
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
            f"{what}: failed {_TRIES} times, last because: {reason}; allowed: a lower temperature, a "
            "shorter time_step_fs, fewer frames, or another seed"
        ) from reason

    def _generator(self, *key: int) -> np.random.Generator:
        # Each frame has its own noise: a simulation that goes on needs no generator's state.
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=key))

    def _refuse_fragments(self, positions: Float[np.ndarray, "atoms 3"]) -> None:
        from ase.data import covalent_radii

        radii = covalent_radii[self.atoms.numbers]
        apart = np.linalg.norm(positions[:, None] - positions[None, :], axis=2)
        reached = np.eye(len(radii), dtype=bool)[0]
        bonded = apart < _BROKEN * (radii[:, None] + radii[None, :])
        for _ in radii:
            reached = np.any(bonded[reached], axis=0)
        if not np.all(reached):
            raise PotentialError(f"{np.sum(~reached)} of {len(radii)} atoms came off")
