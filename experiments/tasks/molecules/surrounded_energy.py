"""An energy of atoms and what each of them sees, as a program with its forces and its stress."""

from typing import Any

import jax
import numpy as np
from jaxtyping import Array

from experiments.frame_room import no_need
from experiments.tasks.molecules.centred import centred
from experiments.tasks.molecules.energies import (
    Energy,
    Evaluation,
    Precision,
    RoomOf,
    about_mean,
    enabled,
    memory_of,
)
from experiments.tasks.molecules.networks.neighbour_table import Surroundings
from experiments.tasks.molecules.strain import derivatives_of


class SurroundedEnergy:
    """An energy, its gradient and its stress, compiled once for a number of atoms and of slots.

    It is pickled and copied as `CompiledEnergy` is.

    Args:
      energy: of positions, species and `Surroundings`.
      room: of the same: what to report as the weight that had no room.

    Attributes:
      program: the compiled function of the three, to an `Evaluation`.
    """

    def __init__(self, energy: Energy, room: RoomOf | None) -> None:
        self._functions = energy, room
        value = about_mean(energy)

        def of_one(*batch: Any) -> tuple[Array, dict[str, Array]]:
            return _as_batch(value(*_alone(batch)))

        derivatives = derivatives_of(of_one)

        @jax.jit
        def evaluate(positions: Array, species: Array, surroundings: Surroundings) -> Evaluation:
            batch = _as_batch((centred(positions), species, surroundings))
            # Of a batch, like its frame, which is then computed once for both.
            lost = no_need(positions.dtype) if room is None else _alone(jax.vmap(room)(*batch))
            found = _alone(derivatives(*batch))
            return Evaluation(found.energy, -found.forces, found.others, 0, lost, found.stress)

        self.program = evaluate

    def __call__(
        self,
        positions: np.ndarray,
        species: np.ndarray,
        surroundings: Surroundings,
        dtype: Precision,
    ) -> Evaluation:
        """The energy and its derivatives, computed in the given precision."""
        with enabled(dtype):
            result = self.program(positions, species, surroundings)
        return jax.device_get(result)

    def memory(
        self,
        positions: np.ndarray,
        species: np.ndarray,
        surroundings: Surroundings,
        dtype: Precision,
    ) -> int:
        """The bytes that a call with the same arguments takes; zero if the backend cannot tell."""
        with enabled(dtype):
            return memory_of(self.program.lower(positions, species, surroundings))

    def __reduce__(self) -> tuple[type, tuple[Any, ...]]:
        """What it is pickled as."""
        return SurroundedEnergy, self._functions

    def __deepcopy__(self, memo: dict[int, Any]) -> "SurroundedEnergy":
        """Itself: nothing in it changes, and to compile takes seconds."""
        return self


def _as_batch(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf[None], tree)


def _alone(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf[0], tree)
