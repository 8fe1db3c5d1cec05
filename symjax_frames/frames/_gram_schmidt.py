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
from jaxtyping import Array, Float, Int

from symjax_frames._unrolled import dot, settled
from symjax_frames.frames._axes import orthonormal, squared_areas
from symjax_frames.frames._choices import choose_heads, choose_tails
from symjax_frames.frames._closure import cosets_of
from symjax_frames.frames._ranks import Ranking
from symjax_frames.frames._select import assign, pick, split
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
      weights: one for each basis, summing to one. A basis of weight zero is a copy of one with the
        largest weight.
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
        multiplied. See `Cosets.shares` for their weights.
      capacity: the number of choices kept for each axis but the last.
      max_elements: the number of bases kept, at most: the products of those of the largest weights.
    """
    # Components come first: loops over points are longer than those over dimensions.
    arms = settled(arms.T)
    dim = arms.shape[0]
    # A cloud without a size is one point, beside which any direction will do.
    none = jnp.max(_constant(squared_lengths(arms))) <= floor * floor
    row, column = (jax.lax.broadcasted_iota(jnp.int32, arms.shape, axis) for axis in (0, 1))
    arms = settled(jnp.where(none, (row + column == 0).astype(arms.dtype), arms))
    ambiguity = settled(jnp.where(none, 1, ambiguity))
    squares = settled(squared_lengths(arms))

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

    cosets = cosets_of(closure)
    order = len(cosets.last)
    kept, openness = _constant((kept * inverse(cosets.whole(openness)), openness))
    numbers = jnp.where(kept > 0, cosets.needed(openness), 0).reshape(-1)
    needed.append(jnp.sum(numbers) * order)
    choice, turn, filled = assign(kept.reshape(-1), numbers, -(-max_elements // order))

    head, tail = choice, None
    if dim == 3:
        head, tail = split(choice, kept.shape[1])
        if tails.points is not None:
            tail = tails.points.reshape(-1)[choice]
    rows = [*heads.arms, heads.weights]
    if dim == 2:
        found = pick(jnp.stack(rows), head)
        weights, pair = found[-1], found[None, :-1]
        openness = [jnp.broadcast_to(ambiguity, weights.shape)]
    else:
        found = pick(jnp.stack([*rows, heads.squares, tails.best]), head)
        first, (weights, own, best) = found[:3], found[3:]
        rows = [*arms, squares, *([] if ranking.factors is None else [ranking.factors])]
        found = pick(jnp.stack(rows), tail)
        others, factors = found[3], None if ranking.factors is None else found[4]
        line = best < 0
        second = jnp.where(line[None], _beside(first), found[:3])
        ahead = dot(first, second)
        areas = squared_areas(first, second, own * others, ahead)
        ranks = ranking.of_second(areas, ahead, own + others, factors)
        weights = weights * jnp.where(line, 1, steep_step(ranks * best, ranking.width))
        left = jnp.where(line, 0, areas * inverse(own * own))
        openness = [jnp.broadcast_to(ambiguity, weights.shape), _openness(ambiguity, left)]
        pair = jnp.stack([first, second])
    weights = weights * cosets.shares(openness, turn)
    weights = settled(jnp.where(filled, weights, 0))

    linear = cosets.turned(orthonormal(pair), turn)[:max_elements]
    weights = jnp.repeat(weights, order)[:max_elements]
    sum_kept, room = jnp.sum(weights), jnp.array([*capacity, max_elements])
    lost = jnp.maximum(1 - sum_kept / jnp.sum(everyone), 0)
    fits = jnp.all(jnp.stack(needed) <= room)
    weights = weights * inverse(sum_kept)
    return Bases(linear, weights, jnp.stack(needed), jnp.where(fits, 0, lost))


def _openness(ambiguity: Float[Array, ""], left: Float[Array, "*any"]) -> Float[Array, "*any"]:
    """The ambiguity of the second axis, from what is left of its arm."""
    return 1 - (1 - ambiguity) * smooth_step(left * (1 / _FLAT))


def _beside(first: Float[Array, "3 bases"]) -> Float[Array, "3 bases"]:
    """A constant direction that is not that of the first axis."""
    x, y, _ = jnp.abs(_constant(first))
    along_x = (x < y).astype(first.dtype)
    return jnp.stack([along_x, 1 - along_x, jnp.zeros_like(along_x)])
