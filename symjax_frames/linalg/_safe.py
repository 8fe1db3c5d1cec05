"""Norms that have a derivative at zero, at every scale that a float can hold."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def power_of_two(magnitude: Float[Array, "..."]) -> Float[Array, "..."]:
    """Power of two between a sixth and a third of a magnitude, one where that is zero.

    A division by it is exact, so a function may scale its input down and its output back without
    losing a digit, and the squares in between neither overflow nor vanish. It is a constant to
    derivatives.
    """
    limits = jnp.finfo(magnitude.dtype)
    magnitude = jax.lax.stop_gradient(magnitude)
    # Of a quarter, since the power of two nearest to the largest floats is infinite, and the
    # reciprocal of the one below, which compilers multiply by, is flushed to zero.
    power = jax.lax.reduce_precision(magnitude / 4, exponent_bits=limits.nexp, mantissa_bits=0)
    return jnp.where(magnitude > 0, jnp.maximum(power, limits.tiny), jnp.ones_like(power))


def _scaled(
    x: Float[Array, "..."], axis: int
) -> tuple[Float[Array, "..."], Float[Array, "..."], Float[Array, "..."]]:
    """The scale of `x` along an axis, `x` over that scale, and its squared norm."""
    scale = power_of_two(jnp.max(jnp.abs(x), axis=axis, keepdims=True, initial=0))
    direction = x / scale
    return scale, direction, jnp.sum(direction * direction, axis=axis, keepdims=True)


def safe_norm(
    x: Float[Array, "..."], axis: int = -1, keepdims: bool = False
) -> Float[Array, "..."]:
    """Euclidean norm along an axis, `sqrt(sum x^2)`, with derivative zero where `x` is zero.

    The squares are taken relative to the largest entry, so they neither overflow nor vanish.

    Args:
      x: vectors along `axis`.
      axis: the axis that is summed.
      keepdims: keeps that axis, with size one.

    Returns:
      The norms, of the shape of `x` without `axis`.
    """
    scale, _, square = _scaled(x, axis)
    zero = square == 0
    # Two wheres: the root of an unused zero would still put a NaN into the derivative.
    root = jnp.sqrt(jnp.where(zero, jnp.ones_like(square), square))
    norm = scale * jnp.where(zero, jnp.zeros_like(root), root)
    return norm if keepdims else jnp.squeeze(norm, axis)


def safe_normalize(x: Float[Array, "..."], axis: int = -1) -> Float[Array, "..."]:
    """Unit vectors along an axis, `x / |x|`; zero, with derivative zero, where `x` is zero.

    Args:
      x: vectors along `axis`.
      axis: the axis along which the result has norm one.

    Returns:
      An array of the shape of `x`.
    """
    _, direction, square = _scaled(x, axis)
    zero = square == 0
    unit = direction / jnp.sqrt(jnp.where(zero, jnp.ones_like(square), square))
    return jnp.where(zero, jnp.zeros_like(unit), unit)
