"""What weights are made of: squared lengths, and a step and a maximum that are smooth in them."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from symjax_frames._unrolled import dot

_SHARPNESS = 8
"""Exponent of the smooth maximum times the width of the step: so sharp that few points share it."""

_NOTHING = 1e-6
"""A share of the maximum of which no power counts."""


def squared_lengths(x: Float[Array, "dim *any"]) -> Float[Array, "*any"]:
    """The squared length of every vector, the components of which are along the first axis."""
    return dot(x, x)


@jax.custom_jvp
def smooth_step(x: Float[Array, "*any"]) -> Float[Array, "*any"]:
    """0 below 0, 1 above 1, and in between a polynomial with two continuous derivatives."""
    x = jnp.clip(x, 0, 1)
    return x * x * x * (10 + x * (6 * x - 15))


@smooth_step.defjvp
def _smooth_step_tangent(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    # The slope is zero at both ends, so that of the clipping need not be known there.
    (x,), (tangent,) = primals, tangents
    inside = jnp.clip(x, 0, 1)
    rest = inside * (1 - inside)
    return smooth_step(x), 30 * rest * rest * tangent


def steep_step(
    ratios: Float[Array, "*any"], width: float | Float[Array, ""]
) -> Float[Array, "*any"]:
    """Weights of ranks over the best: 1 from the best on, and 0 below it by the share `width`."""
    return smooth_step((ratios - 1) * (1 / width) + 1)


@jax.custom_jvp
def inverse(x: Float[Array, "*any"]) -> Float[Array, "*any"]:
    """`1 / x`, of which the derivatives divide no more: divisions are loops of their own."""
    return 1 / x


@inverse.defjvp
def _inverse_tangent(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    found = inverse(*primals)
    return found, -found * found * tangents[0]


@jax.custom_jvp
def smooth_maximum(
    x: Float[Array, "*any points"], width: float | Float[Array, ""]
) -> Float[Array, "*any"]:
    r"""$\sum x^{p+1} / \sum x^p$ of numbers from zero on, at most their maximum.

    The exponent $p$ is in inverse proportion to `width`, a share of the maximum: entries that are
    smaller by much more do not count. Zero if all entries are. The width is a constant.
    """
    largest, _, _, mean, _ = _powers(x, width)
    return largest * mean


def _powers(x: Array, width: float | Array) -> tuple[Array, Array, Array, Array, Array]:
    """The maximum, `y = x / m`, its powers `y^(p-1)`, their mean `y` and one over the sum of `y^p`."""
    largest = jnp.max(jax.lax.stop_gradient(x), axis=-1)
    zero = largest <= 0
    y = jnp.where(zero[..., None], 1, x * (1 / jnp.where(zero, 1, largest))[..., None])
    powers = jnp.exp((_SHARPNESS / width - 1) * jnp.log(jnp.maximum(y, _NOTHING)))
    weights = powers * y
    share = inverse(jnp.sum(weights, axis=-1))
    return largest, y, powers, jnp.sum(weights * y, axis=-1) * share, share


@smooth_maximum.defjvp
def _smooth_maximum_tangent(
    primals: tuple[Array, float | Array], tangents: tuple[Array, float | Array]
) -> tuple[Array, Array]:
    largest, y, powers, mean, share = _powers(*primals)
    exponent = _SHARPNESS / primals[1]
    slope = powers * ((exponent + 1) * y - exponent * mean[..., None])
    return largest * mean, share * jnp.sum(slope * tangents[0], axis=-1)
