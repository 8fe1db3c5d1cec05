"""What weights are made of: squared lengths, and a step and a maximum that are smooth in them."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

_SHARPNESS = 16
"""Exponent of the smooth maximum: so near to the maximum that few points share it."""


def squared_lengths(x: Float[Array, "*any dim"]) -> Float[Array, "*any"]:
    """The squared length of every vector along the last axis."""
    return jnp.sum(x * x, axis=-1)


def smooth_step(x: Float[Array, "*any"]) -> Float[Array, "*any"]:
    """0 below 0, 1 above 1, and in between a polynomial with two continuous derivatives."""
    x = jnp.clip(x, 0, 1)
    return x * x * x * (10 + x * (6 * x - 15))


def smooth_maximum(x: Float[Array, " points"], floor: Float[Array, ""]) -> Float[Array, ""]:
    r"""$\sum x^{p+1} / \sum x^p$ of squared lengths, at most their maximum.

    Zero if the maximum is at most `floor` squared.
    """
    largest = jax.lax.stop_gradient(jnp.max(x))
    zero = largest <= floor * floor
    x = x / jnp.where(zero, 1, largest)
    powers = jnp.where(zero, jnp.ones_like(x), x**_SHARPNESS)
    return jnp.where(zero, 0, largest * jnp.sum(powers * x) / jnp.sum(powers))
