"""Orthonormal bases made of the arms of a cloud, with weights that never jump.

The axes are arms, orthogonalised one after the other. Every point may give the next axis, with a
weight that vanishes, together with two derivatives, where its arm is clearly shorter than the
longest.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from symjax_frames._matrices import multiply
from symjax_frames.frames._smooth import smooth_maximum, smooth_step, squared_lengths
from symjax_frames.groups import Group
from symjax_frames.linalg import safe_normalize

_FLAT = 0.05
"""A cloud is flat where the squared lengths left for an axis are below this share of its own."""


class Bases(NamedTuple):
    """Weighted orthonormal bases, and what did not fit into the capacities.

    Attributes:
      linear: the axes as columns.
      weights: one for each basis, summing to one. A basis of weight zero is a copy of the one with
        the largest weight.
      needed: the number of points with a nonzero weight for each axis but the last (for the second
        axis, the largest number over all first axes), then the number of bases with one.
      dropped: the share of the weight that did not fit.
    """

    linear: Float[Array, "frame dim dim"]
    weights: Float[Array, " frame"]
    needed: Int[Array, " dim"]
    dropped: Float[Array, ""]


class _Choice(NamedTuple):
    """Choices of the next axis.

    The weights of all choices, kept or not, sum to one. So the weight of the axes chosen before
    does not depend on the number of choices, which for points on a line is decided by rounding.

    Attributes:
      axes: the axes chosen before, and the next one.
      weights: of the choices kept.
      needed: how many choices have a nonzero weight.
      ambiguity: from 0 to 1, how far the next axis is arbitrary, because the cloud is flat.
    """

    axes: Float[Array, "kept chosen dim"]
    weights: Float[Array, " kept"]
    needed: Int[Array, ""]
    ambiguity: Float[Array, ""]


# Jitted, so that a call outside of a transform compiles one program, not one per operation.
@functools.partial(jax.jit, static_argnames=("closure", "capacity", "max_elements", "threshold"))
def make_bases(
    arms: Float[Array, "points dim"],
    factors: Float[Array, " points"],
    ambiguity: Float[Array, ""],
    floor: Float[Array, ""],
    closure: Group,
    capacity: tuple[int, ...],
    max_elements: int,
    threshold: float,
) -> Bases:
    """Bases for all choices of points as axes whose weight is not zero.

    Args:
      arms: the centred cloud in 2 or 3 dimensions, of a size of order one, padding zero.
      factors: positive, multiply the squared lengths that points are ranked by.
      ambiguity: from 0 to 1, how far the whole cloud is to be taken for a single point; a cloud
        smaller than `floor` always is.
      floor: the length below which an arm, or what is left of one, is rounding.
      closure: a group of signs or signed permutations of the axes, by whose elements each basis is
        multiplied. See `_closure_shares` for their weights.
      capacity: the number of choices kept for each axis but the last.
      max_elements: the number of bases kept, at most.
      threshold: the rank, relative to the best, at which a point has weight zero.
    """
    size = smooth_maximum(squared_lengths(arms), floor)
    axes, weights = jnp.zeros((1, 0, arms.shape[1]), arms.dtype), jnp.ones(1, arms.dtype)
    ambiguities, choices_needed = [ambiguity[None]], []
    for kept in capacity:
        choose = functools.partial(_choose, arms, factors, size, floor, kept, threshold)
        choices = jax.vmap(choose)(axes)
        ambiguities.append(1 - (1 - ambiguities[-1]) * (1 - choices.ambiguity))
        ambiguities = [jnp.repeat(by_basis, kept) for by_basis in ambiguities]
        choices_needed.append(jnp.max(jnp.where(weights > 0, choices.needed, 0)))
        weights = (weights[:, None] * choices.weights).reshape(-1)
        axes = choices.axes.reshape(-1, *choices.axes.shape[2:])

    shares = weights[:, None] * _closure_shares(closure, ambiguities[1:])
    index, kept_weights = _heaviest(shares.reshape(-1), max_elements)
    basis, element = jnp.divmod(index, shares.shape[1])
    linear = multiply(jax.vmap(_complete)(axes)[basis], closure.cast(arms.dtype).linear[element])
    total = jnp.sum(kept_weights)
    needed = jnp.stack([*choices_needed, jnp.sum(shares > 0)])
    fits = jnp.all(needed <= jnp.array([*capacity, len(index)]))
    return Bases(
        linear, kept_weights / total, needed, jnp.where(fits, 0, jnp.maximum(1 - total, 0))
    )


def _choose(
    arms: Float[Array, "points dim"],
    factors: Float[Array, " points"],
    size: Float[Array, ""],
    floor: Float[Array, ""],
    kept: int,
    threshold: float,
    axes: Float[Array, "chosen dim"],
) -> _Choice:
    """The choices of points for the next axis, given the axes before it."""
    squares = squared_lengths(_perpendicular(arms, axes))
    depth = smooth_maximum(squares, floor)
    flat = depth <= 0
    ranks = squares * factors
    best = jnp.where(flat, 1, smooth_maximum(ranks, jnp.zeros_like(floor)))
    scores = (ranks / best - threshold) / (1 - threshold)
    # Where nothing is left, any direction will do, and one is enough.
    first = (jnp.arange(arms.shape[0]) == 0).astype(arms.dtype)
    weights = jnp.where(flat, first, smooth_step(scores))
    _, index = jax.lax.top_k(jax.lax.stop_gradient(weights), kept)
    spare = jnp.eye(len(axes.T), dtype=arms.dtype)[jnp.argmin(squared_lengths(axes.T))]
    sources = jnp.where(flat, spare[None], arms[index])
    # Twice, since a short remainder of a long arm is perpendicular to the other axes only up to the
    # rounding of the arm's length, and so is its derivative.
    for _ in range(2):
        sources = safe_normalize(_perpendicular(sources, axes))
    extended = [jnp.broadcast_to(axes[None], (kept, *axes.shape)), sources[:, None]]
    return _Choice(
        axes=jnp.concatenate(extended, axis=1),
        weights=weights[index] / jnp.sum(weights),
        needed=jnp.sum(weights > 0),
        ambiguity=1 - smooth_step(depth / jnp.where(flat, 1, _FLAT * size)),
    )


def _perpendicular(
    x: Float[Array, "points dim"], axes: Float[Array, "chosen dim"]
) -> Float[Array, "points dim"]:
    """Vectors without their components along orthonormal axes."""
    for axis in axes:
        x = x - jnp.sum(x * axis[None], axis=1, keepdims=True) * axis[None]
    return x


def _closure_shares(
    closure: Group, ambiguities: list[Float[Array, " bases"]]
) -> Float[Array, "bases order"]:
    """How the weight of a basis is shared among its products with the elements of the closure.

    The share of an element is in proportion to the ambiguity of the first axis that it moves. The
    last axis, which no point gives, has ambiguity 1, and so has the identity.
    """
    assert closure.elements is not None
    moves = (np.asarray(closure.elements.linear) != np.eye(closure.dim)).any(axis=1)
    by_axis = [*ambiguities, jnp.ones_like(ambiguities[0])]
    shares = jnp.stack([by_axis[row.argmax() if row.any() else -1] for row in moves], axis=1)
    return shares / jnp.sum(shares, axis=1, keepdims=True)


def _heaviest(
    weights: Float[Array, " candidates"], count: int
) -> tuple[Int[Array, " frame"], Float[Array, " frame"]]:
    constant = jax.lax.stop_gradient(weights)
    _, index = jax.lax.top_k(constant, min(count, weights.size))
    kept = constant[index] > 0
    # A basis without weight is evaluated like any other. As a copy of the heaviest it does no harm.
    return jnp.where(kept, index, index[0]), jnp.where(kept, weights[index], 0)


def _complete(axes: Float[Array, "chosen dim"]) -> Float[Array, "dim dim"]:
    """The right-handed basis whose first columns are the given axes."""
    if len(axes) == 1:
        last = jnp.stack([-axes[0, 1], axes[0, 0]])
    else:
        last = jnp.cross(axes[0], axes[1])
    return jnp.concatenate([axes, last[None]]).T
