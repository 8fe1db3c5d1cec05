"""How a minimisation goes on from the energy and the gradient where it is: steps of L-BFGS."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

_MEMORY = 10
_SOFTNESS = 1 / 70
"""Angstrom that an atom gives way for 1 eV/angstrom, until something is known of the curvature."""
_LBFGS = optax.scale_by_lbfgs(_MEMORY)


class Descent(NamedTuple):
    """A minimisation of a function of rows of coordinates, as those of atoms are.

    Attributes:
      energy: where it is.
      gradient: there.
      travelled: the sum of the steps that were taken.
      step: the next one; the function is to be evaluated behind it.
      memory: of earlier steps.
      steps: how many were taken; -1 before the start is evaluated.
      failed: whether the last one led to where there is no finite energy, and was not taken.
    """

    energy: Float[Array, ""]
    gradient: Float[Array, "rows 3"]
    travelled: Float[Array, "rows 3"]
    step: Float[Array, "rows 3"]
    memory: Any
    steps: Int[Array, ""]
    failed: Bool[Array, ""]


def at_start(rows: Float[Array, "rows 3"], energy_dtype: Any) -> Descent:
    """Before anything is evaluated; the first step is none.

    Args:
      rows: the coordinates, of which only shape and dtype matter.
      energy_dtype: of the function.
    """
    still = jnp.zeros_like(rows)
    memory = jax.tree.map(
        lambda leaf: leaf.astype(rows.dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf,
        _LBFGS.init(still),
    )
    return Descent(
        *(jnp.asarray(jnp.inf, energy_dtype), jnp.full_like(rows, jnp.inf), still, still, memory),
        *(jnp.asarray(-1, jnp.int32), jnp.asarray(False)),
    )


def advanced(
    descent: Descent,
    energy: Float[Array, ""],
    gradient: Float[Array, "rows 3"],
    max_step: Float[Array, ""] | float,
) -> Descent:
    """Takes the step if there is a finite energy behind it, and chooses the next one.

    That is the step of L-BFGS, or one against the gradient where it would lead uphill, shortened so
    that no row is longer than `max_step`. There is no line search: where many minimisations wait for
    each other, one gradient a step is cheapest.

    Args:
      descent: so far.
      energy: behind the step.
      gradient: there.
      max_step: as above.

    References:
      Liu and Nocedal, On the limited memory BFGS method for large scale optimization, Math.
      Program. 1989, doi:10.1007/BF01589116.
    """
    failed = ~(jnp.isfinite(energy) & jnp.all(jnp.isfinite(gradient)))
    # The start is where it is, whatever the energy there.
    stays = failed & (descent.steps >= 0)
    energy = jnp.where(stays, descent.energy, energy)
    gradient = jnp.where(stays, descent.gradient, gradient)
    travelled = jnp.where(stays, descent.travelled, descent.travelled + descent.step)
    # Where integers have 64 bits, optax mixes them with its own of 32.
    with jax.numpy_dtype_promotion("standard"):
        direction, memory = _LBFGS.update(gradient, descent.memory, travelled)
    downhill = (jnp.vdot(direction, gradient) > 0) & (descent.steps >= 0)
    direction = jnp.where(downhill, direction, _SOFTNESS * gradient)
    step = -direction * jnp.minimum(1, max_step / longest(direction))
    steps = jnp.where(stays, descent.steps, descent.steps + 1)
    return Descent(energy, gradient, travelled, step, memory, steps, failed)


def longest(rows: Float[Array, "rows 3"]) -> Float[Array, ""]:
    """The largest length of a row."""
    return jnp.max(jnp.linalg.norm(rows, axis=-1))
