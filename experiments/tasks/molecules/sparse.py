"""Averages that evaluate no more elements of a frame than have a weight."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

import symjax_frames as sf

Energy = Callable[..., Float[Array, ""]]

_TOGETHER = 2
"""Elements evaluated at a time: a robust frame of E(3) has at least two."""


def sparse_average(bare: Energy, frame: Callable[[Array, Array], sf.Frame]) -> Energy:
    r"""The average of an energy over the elements of a frame whose weight is not zero.

    Formula: $\sum_k w_k f(g_k^{-1} x)$ over the elements with $w_k > 0$, in a loop that is as long
    as there are such elements. Most elements of a robust frame have the weight zero. They would add
    nothing to the energy. They would add nothing to its gradient either, because the weights of a
    robust frame rise from zero with the slope zero.

    It is meant for one molecule at a time: under `jax.vmap` the loop is as long as that of the
    molecule with the most elements. It can be differentiated once, not twice.

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
        values_and_slopes = jax.vmap(jax.value_and_grad(lambda cloud: bare(cloud, *rest)))

        def evaluate(index: Array, results: tuple[Array, Array]) -> tuple[Array, Array]:
            values, slopes = results
            chosen = jax.lax.dynamic_slice_in_dim(order, index * _TOGETHER, _TOGETHER)
            value, slope = values_and_slopes(clouds[chosen])
            return values.at[chosen].set(value), slopes.at[chosen].set(slope)

        zeros = jnp.zeros_like(weights), jnp.zeros_like(clouds)
        values, slopes = jax.lax.fori_loop(0, rounds, evaluate, zeros)
        count = len(weights) - surplus
        slopes = weights[:, None, None] * slopes
        return jnp.sum(weights * values), (values[:count], slopes[:count])

    def backward(derivatives: tuple[Array, Array], change: Array) -> tuple[Array, Array, None]:
        values, slopes = derivatives
        return change * values, change * slopes, None

    average.defvjp(_evaluated, backward)

    def energy(
        positions: Float[Array, "atoms 3"], species: Int[Array, " atoms"], *graph: Any
    ) -> Float[Array, ""]:
        elements, weights = frame(positions, species)
        clouds = jax.vmap(lambda element: sf.points.pull(element, positions))(elements)
        return average(weights, clouds, (species, *graph))

    return energy
