"""Orthonormal bases made of the arms of a cloud, with weights that never jump.

The axes are arms, orthogonalised one after the other. Every point may give the next axis, with a
weight that vanishes, together with two derivatives, where its rank is clearly below the best. The
points are chosen first, as constants; the weights and axes of those chosen are then computed from
their arms. So what is differentiated is short, and takes few programs to compile.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import Precision
from jaxtyping import Array, Float, Int

from symjax_frames._matrices import multiply
from symjax_frames.frames._axes import orthonormal, squared_areas
from symjax_frames.frames._ranks import Ranking
from symjax_frames.frames._select import largest, rows_of
from symjax_frames.frames._smooth import (
    smooth_maximum,
    smooth_step,
    squared_lengths,
    steep_step,
    total,
)
from symjax_frames.groups import Group

_FLAT = 0.05
"""A pair of arms is flat where what is left of the second, squared, is below this share of the first
squared."""

_constant = jax.lax.stop_gradient


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


# Jitted, so that a call outside of a transform compiles one program, not one per operation.
@functools.partial(jax.jit, static_argnames=("closure", "capacity", "max_elements"))
def make_bases(
    arms: Float[Array, "points dim"],
    ranking: Ranking,
    ambiguity: Float[Array, ""],
    floor: Float[Array, ""],
    closure: Group,
    capacity: tuple[int, ...],
    max_elements: int,
) -> Bases:
    """Bases for all choices of points as axes whose weight is not zero.

    Args:
      arms: the centred cloud in 2 or 3 dimensions, of a size of order one, padding zero.
      ranking: what makes points come first.
      ambiguity: from 0 to 1, how far the whole cloud is to be taken for a single point; a cloud
        smaller than `floor` always is.
      floor: the length below which an arm, or what is left of one, is rounding.
      closure: a group of signs or signed permutations of the axes, by whose elements each basis is
        multiplied, with a weight in proportion to the ambiguity of the first axis that it moves.
        The last axis, which no point gives, has ambiguity 1, and so has the identity.
      capacity: the number of choices kept for each axis but the last.
      max_elements: the number of bases kept, at most.
    """
    dim, factors, width = arms.shape[1], ranking.factors, ranking.width
    # A cloud without a size is one point, beside which any direction will do.
    none = _constant(jnp.max(squared_lengths(arms))) <= floor * floor
    row, column = (jax.lax.broadcasted_iota(jnp.int32, arms.shape, axis) for axis in (0, 1))
    arms = jnp.where(none, (row + column == 0).astype(arms.dtype), arms)
    ambiguity = jnp.where(none, 1, ambiguity)
    table = arms if factors is None else jnp.concatenate([arms, factors[:, None]], axis=1)

    squares = squared_lengths(arms)
    ranks = ranking.of_first(squares, factors)
    best = smooth_maximum(ranks, width)
    everyone = _constant(steep_step(ranks / best, width))
    weights, heads, _ = largest(everyone, capacity[0])
    # A choice without weight is a copy of the best, as below: no length of it is zero.
    heads = jnp.where(weights > 0, heads, heads[:1])
    needed, tails = [jnp.sum(everyone > 0)], heads
    ambiguities = [jnp.broadcast_to(ambiguity, weights.shape)]
    if dim == 3:
        chosen = rows_of(heads, arms)
        own = squared_lengths(chosen)[:, None]
        ahead = jnp.dot(chosen, arms.T, precision=Precision.HIGHEST)
        areas = squared_areas(chosen[:, None], arms[None], own * squares[None], ahead)
        # On a line any direction will do, too.
        line = _constant(jnp.max(areas, axis=1) <= floor * floor * own[:, 0])
        ranks = ranking.of_second(areas, ahead, own + squares[None], factors)
        bests = jnp.where(line, 1, smooth_maximum(ranks, width))
        one = jnp.broadcast_to((row[None, :, 0] == 0).astype(arms.dtype), ranks.shape)
        steps = jnp.where(line[:, None], one, steep_step(ranks / bests[:, None], width))
        totals = total(steps)
        steps, lengths = _constant((steps, areas / (own * own)))
        kept, tails, (lengths,) = largest(steps, capacity[1], lengths)
        counts = jnp.sum(steps > 0, axis=1)
        needed.append(jnp.max(jnp.where(weights > 0, counts, 0)))
        weights = weights[:, None] * kept / _constant(totals)[:, None]
        second = jnp.where(line[:, None], 0, smooth_step(lengths / _FLAT))
        ambiguities = [jnp.broadcast_to(ambiguity, weights.shape), 1 - (1 - ambiguity) * second]

    effects = _effects(closure)
    shares = weights[..., None] * _constant(_shares(ambiguities, effects, effects))
    kept, index, _ = largest(shares.reshape(-1), max_elements)
    needed.append(jnp.sum(shares > 0))
    # A basis without weight is evaluated like any other. As a copy of the heaviest it does no harm.
    index = jnp.where(kept > 0, index, index[0])
    choice, element = jnp.divmod(index, len(effects))
    matrices = np.asarray(closure.elements.linear).reshape(len(effects), -1)
    effect = rows_of(element, jnp.asarray(np.concatenate([matrices, effects], axis=1), arms.dtype))
    matrices, effect = effect[:, :dim*dim].reshape(-1, dim, dim), effect[:, dim*dim:]

    tail = rows_of(tails.reshape(-1)[choice], table)
    ambiguities = [ambiguity]
    if dim == 3:
        before = choice // tails.shape[1]
        head = rows_of(before, rows_of(heads, table))
        statistics = rows_of(before, jnp.stack([jnp.where(line, 0, bests), totals], axis=1))
    else:
        head = tail
    first, second = head[:, :dim], tail[:, :dim]
    own = squared_lengths(first)
    weights = steep_step(ranking.of_first(own, None if factors is None else head[:, dim]) / best, width)
    pair = first[:, None]
    ambiguities = [jnp.broadcast_to(ambiguity, own.shape)]
    if dim == 3:
        line = statistics[:, 0] <= 0
        spare = jnp.abs(first[:, :1]) < jnp.abs(first[:, 1:2])
        spare = jnp.where(spare, jnp.eye(1, dim, 0, dtype=own.dtype), jnp.eye(1, dim, 1, dtype=own.dtype))
        second = jnp.where(line[:, None], spare, second)
        squares, ahead = squared_lengths(second), jnp.sum(first * second, axis=1)
        areas = squared_areas(first, second, own * squares, ahead)
        ranks = ranking.of_second(areas, ahead, own + squares, None if factors is None else tail[:, dim])
        step = steep_step(ranks / jnp.where(line, 1, statistics[:, 0]), width)
        weights = weights * jnp.where(line, 1, step) / statistics[:, 1]
        length = jnp.where(line, 0, areas / (own * own))
        ambiguities.append(1 - (1 - ambiguity) * smooth_step(length / _FLAT))
        pair = jnp.stack([first, second], axis=1)
    weights = weights * _shares(ambiguities, effects, effect)[:, 0]
    weights = jnp.where(kept > 0, weights, 0)
    sum_kept = total(weights)
    linear = multiply(jnp.swapaxes(orthonormal(pair), -1, -2), matrices)
    needed = jnp.stack(needed)
    fits = jnp.all(needed <= jnp.array([*capacity, len(index)]))
    lost = jnp.maximum(1 - sum_kept / total(everyone), 0)
    return Bases(linear, weights / sum_kept, needed, jnp.where(fits, 0, lost))


def _shares(ambiguities, effects, chosen):
    by_axis = jnp.stack([*ambiguities, jnp.ones_like(ambiguities[-1])], axis=-1)
    counts = effects.sum(axis=0).astype(by_axis.dtype)
    if chosen is effects:
        chosen = effects.astype(by_axis.dtype)
        moved = jnp.dot(by_axis, chosen.T, precision=Precision.HIGHEST)
    else:
        moved = jnp.sum(by_axis * chosen, axis=-1, keepdims=True)
    return moved / jnp.dot(by_axis, counts, precision=Precision.HIGHEST)[..., None]


def _effects(closure: Group) -> np.ndarray:
    """For each element of the closure, a one at the first axis that it moves, last for none."""
    assert closure.elements is not None
    moves = (np.asarray(closure.elements.linear) != np.eye(closure.dim)).any(axis=1)
    return np.eye(closure.dim)[[row.argmax() if row.any() else -1 for row in moves]]
