"""The points of a cloud that may give its first and second axis, and their weights.

Which points are chosen is constant. What is differentiated are the best ranks and the sums of
weights that the chosen ones are measured by.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from symjax_frames._unrolled import copies, dot, settled
from symjax_frames.frames._axes import squared_areas
from symjax_frames.frames._ranks import Ranking
from symjax_frames.frames._select import few, largest, ordering_keys, pick, total_before
from symjax_frames.frames._smooth import inverse, smooth_maximum, steep_step

_constant = jax.lax.stop_gradient


class Heads(NamedTuple):
    """The points that may give the first axis.

    Attributes:
      arms: to them.
      squares: their squared lengths, none of which is zero.
      weights: the shares that an element of theirs has, before those of its second axis.
      kept: the weights again, as constants, zero where a choice is left over. Where there is room
        for all points, they stay in their places.
    """

    arms: Float[Array, "dim heads"]
    squares: Float[Array, " heads"]
    weights: Float[Array, " heads"]
    kept: Float[Array, " heads"]


class Tails(NamedTuple):
    """The points that may give the second axis, for each head.

    The weights of all points, kept or not, sum to one over `scale`. So the weight of a head does
    not depend on the number of its tails, which for points on a line is decided by rounding.

    Attributes:
      best: one over the best rank; negative where the cloud is a line.
      scale: one over the sum of the weights of all points.
      points: the numbers of those kept; none where all points have their places.
      kept: their weights, as constants.
      left: what is left of their arms, squared, over the squared length of that of the head, as
        constants.
      needed: how many points have a nonzero weight.
    """

    best: Float[Array, " heads"]
    scale: Float[Array, " heads"]
    points: Int[Array, "heads tails"] | None
    kept: Float[Array, "heads tails"]
    left: Float[Array, "heads tails"]
    needed: Int[Array, " heads"]


def choose_heads(
    arms: Float[Array, "dim points"],
    squares: Float[Array, " points"],
    ranking: Ranking,
    kept: int,
) -> tuple[Heads, Float[Array, " points"]]:
    """The points of the largest weights for the first axis, and the weights of all."""
    ranks = ranking.of_first(squares)
    best = inverse(smooth_maximum(ranks, ranking.width))
    steps = steep_step(ranks * best, ranking.width)
    everyone = _constant(steps)
    if kept == arms.shape[1]:
        # All are kept in their places. No length is zero, nor that of a choice without weight.
        return Heads(arms, jnp.where(everyone > 0, squares, 1), steps, everyone), everyone
    weights, points, _ = largest(everyone, kept)
    # A choice without weight is a copy of the best: no length of it is zero.
    points = jnp.where(weights > 0, points, points[0])
    found = pick(jnp.concatenate([arms, squares[None], ranks[None]]), points)
    steps = steep_step(found[-1] * best, ranking.width)
    return Heads(found[:-2], found[-2], steps, weights), everyone


def choose_tails(
    arms: Float[Array, "dim points"],
    squares: Float[Array, " points"],
    heads: Heads,
    ranking: Ranking,
    floor: Float[Array, ""],
    kept: int,
) -> Tails:
    """The points of the largest weights for the second axis, for each head."""
    # All pairs in one row: loops over short rows are slow, those over a long one are not.
    count, rows = squares.shape[0], heads.squares.shape[0]
    first, own = (_flat(copies(entries, count, entries.ndim)) for entries in heads[:2])
    second, other = (_flat(copies(entries, rows, entries.ndim - 1)) for entries in (arms, squares))
    factors = ranking.factors
    factors = None if factors is None else _flat(copies(factors, rows, 0))
    ahead = dot(first, second)
    areas = squared_areas(first, second, own * other, ahead)
    areas, ranks = settled((areas, ranking.of_second(areas, ahead, own + other, factors)))
    by_row, shape = ranks.reshape(rows, count), (rows, count)
    # On a line any direction will do, and one is enough.
    smallest = _constant(floor * floor * heads.squares)
    line = jnp.max(_constant(areas.reshape(shape)), axis=1) <= smallest
    best = settled(inverse(jnp.where(line, 1, smooth_maximum(by_row, ranking.width))))
    pairs = jnp.stack([best, line.astype(best.dtype), _constant(heads.squares)])
    best_of_row, lines, own = _flat(copies(pairs, count, 2))
    numbers = jax.lax.broadcasted_iota(jnp.int32, shape, 1).reshape(-1)
    steps = steep_step(ranks * best_of_row, ranking.width)
    steps = settled(jnp.where(lines > 0, (numbers == 0).astype(arms.dtype), steps))
    left = jnp.where(lines > 0, 0, areas * inverse(own * own))
    constant, left, steps = _constant(steps.reshape(shape)), _constant(left), steps.reshape(shape)
    needed = jnp.sum(constant > 0, axis=1)
    weights, points = constant, None
    if few(count):
        # A point gives no second axis to itself, so that all but one are all.
        if kept < count - 1:
            keys = ordering_keys(constant)
            weights = jnp.where(total_before(keys, jnp.ones_like(keys)) < kept, constant, 0)
    else:
        weights, points, (left,) = largest(constant, kept, left.reshape(shape))
    return Tails(
        best=jnp.where(line, -1, best),
        scale=inverse(jnp.sum(steps, axis=-1)),
        points=points,
        kept=weights,
        left=left.reshape(rows, -1),
        needed=needed,
    )


def _flat(table: Float[Array, "*columns heads points"]) -> Float[Array, "*columns pairs"]:
    """The entries of all pairs in one row, made once."""
    return settled(table.reshape(*table.shape[:-2], -1))
