"""Averages that evaluate no more elements of a frame than have a weight."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

import symjax_frames as sf

Energy = Callable[..., Float[Array, ""]]

_TOGETHER = 2
"""Elements evaluated at a time: the least that a robust frame of E(3) has."""


def sparse_average(bare: Energy, frame: Callable[[Array, Array], sf.Frame]) -> Energy:
    r"""The average of an energy over a frame, for one molecule at a time: faster with a robust one.

    Formula: $\sum_k w_k f(g_k^{-1} x)$ over the elements with $w_k > 0$, in a loop as long as there are
    such. The others would add nothing to the energy, and nothing to its first derivative either,
    since weights leave zero with a slope of zero. It has first derivatives only.

    Args:
      bare: `(positions, species, *graph)` to an energy.
      frame: `(positions, species)` to a frame.
    """

    @jax.custom_vjp
    def average(weights: Array, clouds: Array, rest: tuple[Any, ...]) -> Array:
        return _evaluated(weights, clouds, rest)[0]

    def _evaluated(weights: Array, clouds: Array, rest: tuple[Any, ...]) -> tuple[Array, Any]:
        surplus = -len(weights) % _TOGETHER
        weights = jnp.pad(weights, (0, surplus))
        clouds = jnp.concatenate([clouds, clouds[:surplus]])
        # Heaviest first, so that those without a weight are last.
        order = jnp.argsort(-weights)
        rounds = (jnp.sum(weights > 0) + _TOGETHER - 1) // _TOGETHER
        both = jax.vmap(jax.value_and_grad(lambda cloud: bare(cloud, *rest)))

        def evaluate(place: Array, found: tuple[Array, Array]) -> tuple[Array, Array]:
            chosen = jax.lax.dynamic_slice_in_dim(order, place * _TOGETHER, _TOGETHER)
            value, slope = both(clouds[chosen])
            return found[0].at[chosen].set(value), found[1].at[chosen].set(slope)

        none = jnp.zeros_like(weights), jnp.zeros_like(clouds)
        values, slopes = jax.lax.fori_loop(0, rounds, evaluate, none)
        count = len(weights) - surplus
        slopes = weights[:, None, None] * slopes
        return jnp.sum(weights * values), (values[:count], slopes[:count])

    def pulled(derivatives: tuple[Array, Array], change: Array) -> tuple[Array, Array, None]:
        values, slopes = derivatives
        return change * values, change * slopes, None

    average.defvjp(_evaluated, pulled)

    def energy(
        positions: Float[Array, "atoms 3"], species: Int[Array, " atoms"], *graph: Any
    ) -> Float[Array, ""]:
        elements, weights = frame(positions, species)
        clouds = jax.vmap(lambda element: sf.points.pull(element, positions))(elements)
        return average(weights, clouds, (species, *graph))

    return energy
