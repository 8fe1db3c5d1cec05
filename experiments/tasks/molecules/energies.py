"""An energy in JAX as a program: with its gradient, in a stated precision, and able to travel."""

import contextlib
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from experiments.errors import UsageError
from experiments.frame_room import Room, no_need
from experiments.tasks.molecules.centred import centred

Energy = Callable[..., Any]
"""Potential energy in eV of positions in angstrom and of species, which are integers; and, where
there are neighbour lists, of a graph. Or a pair of it and of a dictionary of other numbers."""

Neighbours = Callable[..., tuple[Any, Int[Array, ""]]]
"""`(positions, species, capacity=...)` to a graph and the capacity that it takes to be whole."""

RoomOf = Callable[..., Room]
"""`(positions, species)`, and surroundings where there are any, to the weight of the elements of a
frame that had no room, and their needs."""

Precision = Literal["float32", "float64"]

_RESULTS = ("energy", "free_energy", "forces", "stress")
"""What a calculator says of any energy, which numbers beside it may not be called."""


class PotentialLike(Protocol):
    """What the calculator and the command `predict` need of a potential.

    Attributes:
      reach: how far an atom sees in Angstrom, of an energy that takes `Surroundings` in place of a
        graph, and so has one of a crystal; `None` of one that needs a whole molecule.
    """

    @property
    def reach(self) -> float | None:
        """As above."""

    def energy(self, params: PyTree[Array]) -> Energy:
        """The energy above the reference, as a function of positions and species."""

    def with_spreads(self, params: PyTree[Array]) -> Energy:
        """Energies of a batch of molecules, by a faster program, and spreads of each by name."""

    def species_of(self, numbers: Int[np.ndarray, " atoms"]) -> Int[np.ndarray, " atoms"]:
        """The species of atomic numbers; a `UsageError` for an element it was not trained on."""

    def reference(self, numbers: Int[np.ndarray, " atoms"]) -> float:
        """The energy in eV of these atoms by themselves."""

    def determined(self, numbers: Int[np.ndarray, " atoms"]) -> bool:
        """Whether the training molecules determine that energy."""

    def neighbours(self, positions: Array, species: Array, *, capacity: int) -> tuple[Any, Array]:
        """The graph that the energy takes, and the capacity that it takes to be whole."""

    def room(self, *molecule: Any) -> Room:
        """The weight of the elements of its frame that had no room, and what they need.

        Args:
          *molecule: positions, species and, where there is a `reach`, surroundings.
        """


@dataclass(frozen=True, eq=False)
class EnergyAlone:
    """The energy of one molecule, a batch of one, with its spreads; unlike most it can be pickled."""

    potential: PotentialLike
    params: PyTree[Array]

    def __call__(self, *arguments: Any) -> tuple[Float[Array, ""], dict[str, Array]]:
        """The energy of positions and whatever else it takes."""
        batch = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], arguments)
        energies = self.potential.with_spreads(self.params)(*batch)
        return jax.tree.map(lambda leaf: leaf[0], energies)


class Evaluation(NamedTuple):
    """What a compiled energy returns.

    Attributes:
      energy: in eV.
      slope: its gradient in eV/Angstrom.
      others: numbers beside it, by their names.
      neighbours: the capacity that the neighbour list takes to be whole; zero without a list.
      room: what the frame had no room for; nothing if nobody asked.
      stress: in eV/Angstrom^3, zero without a cell; `None` of a whole molecule.
    """

    energy: Float[Array, ""]
    slope: Float[Array, "atoms 3"]
    others: dict[str, Array]
    neighbours: Int[Array, ""] | int
    room: Room
    stress: Float[Array, "3 3"] | None = None


class CompiledEnergy:
    """An energy and its gradient, compiled once for each number of atoms.

    It is pickled as the functions it is made of, and compiled anew where it is read. Copies in one
    process share what is compiled.

    Args:
      energy: of positions, species and, if there is `neighbours`, a graph.
      neighbours: makes the graph.
      room: what to report as the weight that had no room.
    """

    def __init__(self, energy: Energy, neighbours: Neighbours | None, room: RoomOf | None):
        self._functions = energy, neighbours, room
        value_and_slope_of = value_and_slope(energy)

        @functools.partial(jax.jit, static_argnames="capacity")
        def evaluate(positions: Array, species: Array, capacity: int) -> Evaluation:
            lost = no_need(positions.dtype)
            if room is not None:
                # As a batch of one, like its frame, which is then computed once for both.
                one = jax.vmap(room)(centred(positions)[None], species[None])
                lost = jax.tree.map(lambda leaf: leaf[0], one)
            if neighbours is None:
                return Evaluation(*value_and_slope_of(positions, species), 0, lost)
            graph, needed = neighbours(positions, species, capacity=capacity)
            return Evaluation(*value_and_slope_of(positions, species, graph), needed, lost)

        self._evaluate = evaluate

    def __call__(
        self, positions: np.ndarray, species: np.ndarray, capacity: int, dtype: Precision
    ) -> Evaluation:
        """The energy and its gradient, with room for `capacity` neighbours of each atom."""
        with enabled(dtype):
            result = self._evaluate(positions, species, capacity=capacity)
        # All at once, as arrays of NumPy: of JAX, each use would be a call of its own.
        return jax.device_get(result)

    def memory(
        self, positions: np.ndarray, species: np.ndarray, capacity: int, dtype: Precision
    ) -> int:
        """The bytes that a call with the same arguments takes; zero if the backend cannot tell."""
        with enabled(dtype):
            return memory_of(self._evaluate.lower(positions, species, capacity=capacity))

    def __reduce__(self) -> tuple[type, tuple[Any, ...]]:
        """What it is pickled as."""
        return CompiledEnergy, self._functions

    def __deepcopy__(self, memo: dict[int, Any]) -> "CompiledEnergy":
        """Itself: nothing in it changes, and to compile takes seconds."""
        return self


def memory_of(lowered: jax.stages.Lowered) -> int:
    """The bytes that a program takes while it runs; zero if the backend cannot tell."""
    stats = lowered.compile().memory_analysis()
    if stats is None:
        return 0
    kinds = ("temp", "argument", "output")
    return sum(getattr(stats, f"{kind}_size_in_bytes") for kind in kinds)


def _is_pair(found: Any) -> bool:
    """Whether an energy has numbers beside it."""
    if not isinstance(found, tuple | list | dict):
        return False
    if not isinstance(found, tuple) or len(found) != 2 or not isinstance(found[1], dict):
        raise UsageError(
            "energy must return a number, or a pair of it and of a dictionary of other numbers, got "
            f"a {type(found).__name__} of length {len(found)}"
        )
    return True


def enabled(dtype: Precision) -> contextlib.AbstractContextManager[None]:
    """A context in which JAX computes in the given precision: double is off by default."""
    return jax.enable_x64(True) if dtype == "float64" else contextlib.nullcontext()


def value_and_slope(
    energy: Energy,
) -> Callable[..., tuple[Float[Array, "*molecules"], Float[Array, "*molecules atoms 3"], dict]]:
    """The energy about the mean of the atoms, its gradient, and what else `energy` returns.

    Args:
      energy: a function of positions and whatever else, of one molecule or of a batch.

    Returns:
      A function of the same, of molecules without padding; it raises a `UsageError` if what is
      returned is not one number for each, alone or with a dictionary.
    """
    return with_gradient(about_mean(energy))


def about_mean(energy: Energy) -> Callable[..., tuple[Float[Array, "*molecules"], dict]]:
    """The energy about the mean of the atoms and what is beside it, checked to be as they must be.

    Args:
      energy: as in `value_and_slope`, which raises the same.
    """

    def value(positions: Float[Array, "*molecules atoms 3"], *rest: Any) -> tuple[Array, dict]:
        found = energy(centred(positions), *rest)
        values, others = found if _is_pair(found) else (found, {})
        if jnp.shape(values) != positions.shape[:-2]:
            raise UsageError(
                "energy must return one number, as a potential that was trained on energies does, "
                f"got shape {jnp.shape(values)[positions.ndim - 2 :]}"
            )
        for name, other in others.items():
            if name in _RESULTS or jnp.shape(other) != positions.shape[:-2]:
                raise UsageError(
                    f"what energy returns beside it must be numbers with names other than "
                    f"{', '.join(_RESULTS)}, got {name!r} of shape "
                    f"{jnp.shape(other)[positions.ndim - 2 :]}"
                )
        return values, others

    return value


def with_gradient(
    energies: Callable[..., tuple[Array, dict]],
) -> Callable[..., tuple[Float[Array, "*molecules"], Float[Array, "*molecules atoms 3"], dict]]:
    """`(positions, *rest)` to energies, each with its gradient, and what is beside the energies.

    Args:
      energies: of one molecule or of a batch, to energies and a dictionary. No molecule of a batch
        has a part in the energy of another one, so that one gradient is that of all.
    """

    def total(positions: Array, *rest: Any) -> tuple[Array, tuple[Array, dict]]:
        values, others = energies(positions, *rest)
        return jnp.sum(values), (values, others)

    def both(
        positions: Float[Array, "*molecules atoms 3"], *rest: Any
    ) -> tuple[Array, Array, dict]:
        gradient, (values, others) = jax.grad(total, has_aux=True)(positions, *rest)
        return values, gradient, others

    return both
