"""Many crystals on their way to a minimum by positions and cell, as long as their lists hold."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from experiments.tasks.molecules.descent import Descent, advanced, at_start, longest
from experiments.tasks.molecules.networks.neighbour_table import Surroundings
from experiments.tasks.molecules.strain import Slopes

ARM = 2.0
"""Angstrom: a strain counts as much as moving atoms that are so far away, and as many as there are
by the root of their number. Then it is about as stiff as an atom, in a cell of any size."""


class Places(NamedTuple):
    """Where crystals are.

    Attributes:
      positions: in Angstrom, about a point that stays.
      deformation: of the cell since the start: its vectors, in rows, are those of the start times it.
    """

    positions: Float[Array, "structures atoms 3"]
    deformation: Float[Array, "structures 3 3"]


class Listed(NamedTuple):
    """What crystals are, and the lists of their neighbours with the places these were made at.

    Attributes:
      species: 0 for padding.
      surroundings: neighbours within cutoff and skin, and the cell of the start.
      positions: where the lists were made.
      undone: the inverse of the deformation there.
      free: the projection on the directions in which the cell may change.
    """

    species: Int[Array, "structures atoms"]
    surroundings: Surroundings
    positions: Float[Array, "structures atoms 3"]
    undone: Float[Array, "structures 3 3"]
    free: Float[Array, "structures 3 3"]


class Limits(NamedTuple):
    """Of a relaxation.

    Attributes:
      force: in eV/Angstrom, of atoms, and in eV for what a strain changes the energy of an atom by.
      steps: the most.
      step: the farthest that an atom moves in one, in Angstrom.
      cutoff: within which all neighbours must be in a list, in Angstrom.
      skin: how much further they were looked up.
    """

    force: Float[Array, ""] | float
    steps: Int[Array, ""] | int
    step: Float[Array, ""] | float
    cutoff: Float[Array, ""] | float
    skin: Float[Array, ""] | float


class Relaxing(NamedTuple):
    """Crystals on their way.

    Attributes:
      descent: of each; its rows are the atoms and three for the cell.
      places: where they are, with the energies and gradients of `descent`.
    """

    descent: Descent
    places: Places


@jax.jit
def at_start_of(start: Float[Array, "structures atoms 3"]) -> Relaxing:
    """Crystals at their first positions, before anything is evaluated."""
    rows = jnp.pad(start, ((0, 0), (0, 3), (0, 0)))
    deformation = jnp.broadcast_to(jnp.eye(3, dtype=start.dtype), (len(start), 3, 3))
    descents = jax.vmap(lambda rows: at_start(rows, start.dtype))(rows)
    return Relaxing(descents, Places(start, deformation))


def behind_step(relaxing: Relaxing, listed: Listed) -> Places:
    """Where the next step of each crystal leads to."""
    positions, deformation = relaxing.places
    step = relaxing.descent.step
    strain = step[:, -3:] / _arms(listed)[:, None, None]
    # The exponential to second order: whatever the strain, it has a positive volume.
    stretch = jnp.eye(3, dtype=strain.dtype)[None] + strain + strain @ strain / 2
    return Places(positions @ stretch + step[:, :-3], deformation @ stretch)


def goes_on(relaxing: Relaxing, listed: Listed, limits: Limits) -> Bool[Array, " structures"]:
    """Which crystals are not at rest yet, and have steps left."""
    descent = relaxing.descent
    far = sizes(descent.gradient, listed) > limits.force
    return far & (descent.steps < limits.steps) & ~descent.failed


def sizes(
    gradient: Float[Array, "structures rows 3"], listed: Listed
) -> Float[Array, " structures"]:
    """The largest force of each crystal, and what a strain changes the energy of an atom by."""
    arms, count = _arms(listed), jnp.sum(listed.species > 0, axis=1)
    of_cell = gradient[:, -3:] * (arms / jnp.maximum(count, 1).astype(arms.dtype))[:, None, None]
    return jax.vmap(longest)(jnp.concatenate([gradient[:, :-3], of_cell], axis=1))


def holds(places: Places, listed: Listed, limits: Limits) -> Bool[Array, " structures"]:
    r"""Whether lists have all neighbours within the cutoff at other places.

    As of `NeighbourList`, with $1 - |F - 1|$ for the smallest singular value of the deformation
    $F$, which is not less.
    """
    deformation = listed.undone @ places.deformation
    away = places.positions - listed.positions @ deformation
    away = jnp.where((listed.species > 0)[..., None], away, 0)
    change = deformation - jnp.eye(3, dtype=deformation.dtype)[None]
    shrinking = jnp.sqrt(jnp.sum(change**2, axis=(1, 2)))
    reach = (1 - shrinking) * (limits.cutoff + limits.skin)
    # Places that are not numbers are not waited for: their energy is none, and is not taken.
    return ~(reach - 2 * jax.vmap(longest)(away) < limits.cutoff)


def relaxed_while_lists_hold(
    slopes: Callable[..., Slopes], relaxing: Relaxing, listed: Listed, limits: Limits
) -> Relaxing:
    """Takes steps until all crystals are at rest, or the list of one does not hold behind its next.

    Args:
      slopes: of the energies of a batch, from `slopes_of`.
      relaxing: the crystals so far.
      listed: the crystals, with lists that hold behind the first steps.
      limits: of the relaxation.
    """
    real = (listed.species > 0)[..., None]

    def runs(relaxing: Relaxing) -> Bool[Array, ""]:
        going = goes_on(relaxing, listed, limits)
        stale = going & ~holds(behind_step(relaxing, listed), listed, limits)
        return jnp.any(going) & ~jnp.any(stale)

    def step(relaxing: Relaxing) -> Relaxing:
        going = goes_on(relaxing, listed, limits)
        there = behind_step(relaxing, listed)
        cell = listed.surroundings.cell @ there.deformation
        surroundings = listed.surroundings._replace(cell=cell)
        energy, gradient, strain, _ = slopes(there.positions, listed.species, surroundings)
        # Of what a strain changes, only that in the free directions.
        of_cell = listed.free @ strain @ listed.free / _arms(listed)[:, None, None]
        rows = jnp.concatenate([jnp.where(real, gradient, 0), of_cell], axis=1)
        advance = jax.vmap(advanced, in_axes=(0, 0, 0, None))
        descent = advance(relaxing.descent, energy, rows, limits.step)
        taken = going & (descent.steps > relaxing.descent.steps)
        return Relaxing(
            _where(going, descent, relaxing.descent), _where(taken, there, relaxing.places)
        )

    return jax.lax.while_loop(runs, step, relaxing)


def _arms(listed: Listed) -> Float[Array, " structures"]:
    count = jnp.maximum(jnp.sum(listed.species > 0, axis=1), 1)
    return ARM * jnp.sqrt(count.astype(listed.positions.dtype))


def _where(chosen: Bool[Array, " structures"], new: Any, old: Any) -> Any:
    def one(new: Array, old: Array) -> Array:
        return jnp.where(chosen.reshape(-1, *[1] * (new.ndim - 1)), new, old)

    return jax.tree.map(one, new, old)
