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
from jaxtyping import Array, Float, Int

from symjax_frames.frames._axes import orthonormal, squared_areas
from symjax_frames.frames._choices import choose_heads, choose_tails
from symjax_frames.frames._ranks import Ranking
from symjax_frames.frames._select import largest, one_hot, pick
from symjax_frames.frames._smooth import inverse, smooth_step, squared_lengths, steep_step
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
        multiplied. See `_shares` for their weights.
      capacity: the number of choices kept for each axis but the last.
      max_elements: the number of bases kept, at most.
    """
    count, dim = arms.shape
    # A cloud without a size is one point, beside which any direction will do.
    none = _constant(jnp.max(squared_lengths(arms))) <= floor * floor
    row, column = (jax.lax.broadcasted_iota(jnp.int32, arms.shape, axis) for axis in (0, 1))
    arms = jnp.where(none, (row + column == 0).astype(arms.dtype), arms)
    ambiguity = jnp.where(none, 1, ambiguity)
    squares = squared_lengths(arms)

    heads, everyone = choose_heads(arms, squares, ranking, capacity[0])
    needed, kept = [jnp.sum(everyone > 0)], heads.kept
    openness = [jnp.broadcast_to(ambiguity, kept.shape)]
    if dim == 3:
        tails = choose_tails(arms, squares, heads, ranking, floor, capacity[1])
        heads = heads._replace(weights=heads.weights * tails.scale)
        kept = jnp.where(kept > 0, _constant(heads.weights), 0)[:, None] * tails.kept
        openness = [jnp.broadcast_to(ambiguity, kept.shape)]
        openness += [_openness(ambiguity, tails.left)]
        needed.append(jnp.max(jnp.where(heads.kept > 0, tails.needed, 0)))

    effects = _effects(closure, arms)
    every = effects.reshape(*[1] * kept.ndim, *effects.shape)
    shares = kept[..., None] * _constant(_shares([x[..., None] for x in openness], every, effects))
    needed.append(jnp.sum(shares > 0))
    kept, index, _ = largest(shares.reshape(-1), max_elements)
    # A basis without weight is evaluated like any other. As a copy of the heaviest it does no harm.
    index = jnp.where(kept > 0, index, index[0])
    choice, element = _split(index, len(effects))
    elements = one_hot(element, len(effects), arms)

    before = one_hot(choice, capacity[0], arms)
    if dim == 3:
        before = one_hot(_split(choice, tails.points.shape[1])[0], capacity[0], arms)
    first, weights = pick(before, heads.arms), pick(before, heads.weights)
    openness, pair = [jnp.broadcast_to(ambiguity, weights.shape)], first[:, None]
    if dim == 3:
        after = one_hot(tails.points.reshape(-1)[choice], count, arms)
        own, others, best = (
            pick(hot, table)
            for hot, table in ((before, heads.squares), (after, squares), (before, tails.best))
        )
        factors = None if ranking.factors is None else pick(after, ranking.factors)
        line = best < 0
        second = jnp.where(line[:, None], _beside(first), pick(after, arms))
        ahead = jnp.sum(first * second, axis=1)
        areas = squared_areas(first, second, own * others, ahead)
        ranks = ranking.of_second(areas, ahead, own + others, factors)
        weights = weights * jnp.where(line, 1, steep_step(ranks * best, ranking.width))
        left = jnp.where(line, 0, areas * inverse(own * own))
        openness += [_openness(ambiguity, left)]
        pair = jnp.stack([first, second], axis=1)
    weights = weights * _shares(openness, pick(elements, effects), effects)
    weights = jnp.where(kept > 0, weights, 0)

    matrices = jnp.asarray(_linear(closure).reshape(len(effects), -1), arms.dtype)
    matrices = pick(elements, matrices).reshape(-1, dim, dim)
    linear = jnp.sum(orthonormal(pair)[:, :, :, None] * matrices[:, :, None, :], axis=1)
    sum_kept, room = jnp.sum(weights, axis=-1), jnp.array([*capacity, len(index)])
    lost = jnp.maximum(1 - sum_kept / jnp.sum(everyone, axis=-1), 0)
    fits = jnp.all(jnp.stack(needed) <= room)
    weights = weights * inverse(sum_kept)
    return Bases(linear, weights, jnp.stack(needed), jnp.where(fits, 0, lost))


def _openness(ambiguity: Float[Array, ""], left: Float[Array, "*any"]) -> Float[Array, "*any"]:
    """The ambiguity of the second axis, from what is left of its arm."""
    return 1 - (1 - ambiguity) * smooth_step(left * (1 / _FLAT))


def _beside(first: Float[Array, "frame 3"]) -> Float[Array, "frame 3"]:
    """A constant direction that is not that of the first axis."""
    x, y = (jnp.eye(1, 3, axis, dtype=first.dtype) for axis in (0, 1))
    return _constant(jnp.where(jnp.abs(first[:, :1]) < jnp.abs(first[:, 1:2]), x, y))


def _shares(
    openness: list[Float[Array, "..."]],
    effect: Float[Array, "... dim"],
    effects: Float[Array, "order dim"],
) -> Float[Array, "..."]:
    """How the weight of a basis is shared among its products with the elements of the closure.

    The share of an element is in proportion to the ambiguity of the first axis that it moves. The
    last axis, which no point gives, has ambiguity 1, and so has the identity.

    Args:
      openness: the ambiguity of each axis but the last.
      effect: of the elements in question, as in `effects`.
      effects: a one at the first axis that an element moves, for the whole closure.
    """
    counts = jnp.sum(effects, axis=0)
    moved, whole = effect[..., -1], counts[-1]
    for axis, ambiguity in enumerate(openness):
        moved = moved + effect[..., axis] * ambiguity
        whole = whole + counts[axis] * ambiguity
    return moved * inverse(whole)


def _effects(closure: Group, like: Array) -> Float[Array, "order dim"]:
    """For each element of the closure, a one at the first axis that it moves, last for none."""
    moves = (_linear(closure) != np.eye(closure.dim)).any(axis=1)
    first = [row.argmax() if row.any() else -1 for row in moves]
    return jnp.asarray(np.eye(closure.dim)[first], like.dtype)


def _linear(closure: Group) -> np.ndarray:
    assert closure.elements is not None
    return np.asarray(closure.elements.linear)


def _split(index: Int[Array, "..."], size: int) -> tuple[Int[Array, "..."], Int[Array, "..."]]:
    """Row and column in a table of `size` columns."""
    columns = jnp.asarray(size, index.dtype)
    return jax.lax.div(index, columns), jax.lax.rem(index, columns)
