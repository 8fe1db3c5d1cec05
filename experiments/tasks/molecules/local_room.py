"""Whether the local frames of atoms have room, and what has room for those that have not."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from experiments.errors import UsageError
from experiments.frame_room import MOST_DROPPED, MOST_ELEMENTS, Room
from experiments.tasks.molecules.config import MoleculesModelConfig
from experiments.tasks.molecules.local_elements import diagnostics_of, side_by_side
from experiments.tasks.molecules.networks.neighbour_table import Surroundings

_AT_A_TIME = 16
"""Structures whose frames are looked at together."""


def options_of(config: MoleculesModelConfig) -> dict[str, Any]:
    """The options of `symjax_frames.local_frames` that a configuration asks for."""
    return {
        "group": config.group,
        "capacity": config.capacity,
        "max_elements": config.max_elements,
        "threshold": config.threshold,
    }


def room_of_atoms(
    positions: Float[Array, "atoms 3"],
    species: Int[Array, " atoms"],
    surroundings: Surroundings | None,
    cutoff: float,
    **options: Any,
) -> Room:
    """What the frames of a structure have no room for, and would need; of the worst atom.

    Args:
      positions: in Angstrom.
      species: 0 for padding.
      surroundings: what atoms see; `None` for all others.
      cutoff: in Angstrom.
      **options: of `symjax_frames.local_frames`.
    """
    batch = jax.tree.map(lambda leaf: leaf[None], (positions, species, surroundings))
    atoms = side_by_side(*batch)
    found = diagnostics_of(atoms.vectors, cutoff, **options)
    needed = jnp.concatenate([found.num_choices, found.num_elements[:, None]], axis=1)
    real = atoms.species > 0
    return Room(
        jnp.max(jnp.where(real, found.dropped, 0)),
        jnp.max(jnp.where(real[:, None], needed, 0), axis=0),
    )


def refuse_local_overflows(
    config: MoleculesModelConfig, label: Callable[[int], str], *molecules: Any
) -> None:
    """Refuses structures of which the frame of an atom has no room.

    Args:
      config: the model section of a configuration.
      label: what a structure is called in errors.
      *molecules: positions, species and, of crystals, surroundings.

    Raises:
      UsageError: more than `MOST_DROPPED` is dropped of the weight of a frame. It says of which,
        and what has room for all, or that nothing has.
    """
    dropped, needed = _rooms(config, config.capacity, molecules)
    short = np.flatnonzero(dropped > MOST_DROPPED)
    if not len(short):
        return
    worst = int(dropped.argmax())
    tight = jax.tree.map(lambda array: array[short], molecules)
    raise UsageError(
        "model.max_elements: must have room for the local frame of every atom, got "
        f"{config.max_elements} with model.capacity={list(config.capacity)}, without room for "
        f"{100 * dropped[worst]:.3g} % of the weight at an atom of {label(worst)} (of {len(short)} "
        "structures with too little room), so that the output would change with the orientation; "
        f"{_advice(config, needed[short], tight)}"
    )


def _advice(
    config: MoleculesModelConfig,
    needed: Int[np.ndarray, "structures 3"],
    short: tuple[Any, ...],
) -> str:
    """What has room for structures that have none, of which some needs are counted."""
    capacity = config.capacity
    while True:
        # The choices of an axis are all counted only if those of the one before have room, and
        # elements only if all choices have.
        *choices, elements = np.max(needed, axis=0).tolist()
        if elements > MOST_ELEMENTS:
            return (
                f"more than {MOST_ELEMENTS} elements are needed, as so many neighbours tie: a higher "
                "threshold needs fewer"
            )
        wanted = tuple(map(max, choices, capacity))
        if wanted == tuple(capacity):
            break
        capacity = wanted
        _, needed = _rooms(config, capacity, short)
    most = max(elements, config.max_elements)
    return (
        f"model.max_elements={most} and model.capacity={list(capacity)} have room, fewer are enough "
        "with a higher threshold"
    )


def _rooms(
    config: MoleculesModelConfig, capacity: tuple[int, ...], molecules: tuple[Any, ...]
) -> tuple[Float[np.ndarray, " structures"], Int[np.ndarray, "structures 3"]]:
    """The weight that is dropped of each structure, and its needs; some structures at a time."""
    count = len(molecules[0])
    rows = min(_AT_A_TIME, count)
    options = options_of(config) | {"capacity": tuple(capacity)}
    static = config.cutoff, tuple(sorted(options.items()))
    dropped, needed = [], []
    for start in range(0, count, rows):
        # Always as many, the last ones filled up, or another number would be compiled for.
        chosen = np.minimum(np.arange(start, start + rows), count - 1)
        part = jax.tree.map(lambda array, chosen=chosen: jnp.asarray(array[chosen]), molecules)
        room = _rooms_of(static, part)
        dropped.append(np.asarray(room.dropped))
        needed.append(np.asarray(room.needed))
    return np.concatenate(dropped)[:count], np.concatenate(needed)[:count]


@functools.partial(jax.jit, static_argnums=0)
def _rooms_of(
    static: tuple[float, tuple[tuple[str, Any], ...]], molecules: tuple[Any, ...]
) -> Room:
    cutoff, options = static

    def of_one(positions: Array, species: Array, surroundings: Any = None) -> Room:
        return room_of_atoms(positions, species, surroundings, cutoff, **dict(options))

    return jax.vmap(of_one)(*molecules)
