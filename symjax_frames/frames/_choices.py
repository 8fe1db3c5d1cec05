"""The points of a cloud that may give its first and second axis, and their weights.

Which points are chosen is constant. What is differentiated are the best ranks and the sums of
weights that the chosen ones are measured by.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.lax import Precision
from jaxtyping import Array, Float, Int

from symjax_frames.frames._axes import squared_areas
from symjax_frames.frames._ranks import Ranking
from symjax_frames.frames._select import largest, one_hot, pick
from symjax_frames.frames._smooth import inverse, smooth_maximum, steep_step

_constant = jax.lax.stop_gradient


class Heads(NamedTuple):
    """The points that may give the first axis.

    Attributes:
      arms: to them.
      squares: their squared lengths, none of which is zero.
      weights: the shares that an element of theirs has, before those of its second axis.
      kept: the weights again, as constants, zero where a choice is left over.
    """

    arms: Float[Array, "heads dim"]
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
      points: the numbers of those kept.
      kept: their weights, as constants.
      left: what is left of their arms, squared, over the squared length of that of the head, as
        constants.
      needed: how many points have a nonzero weight.
    """

    best: Float[Array, " heads"]
    scale: Float[Array, " heads"]
    points: Int[Array, "heads tails"]
    kept: Float[Array, "heads tails"]
    left: Float[Array, "heads tails"]
    needed: Int[Array, " heads"]


def choose_heads(
    arms: Float[Array, "points dim"],
    squares: Float[Array, " points"],
    ranking: Ranking,
    kept: int,
) -> tuple[Heads, Float[Array, " points"]]:
    """The points of the largest weights for the first axis, and the weights of all."""
    ranks = ranking.of_first(squares)
    best = inverse(smooth_maximum(ranks, ranking.width))
    everyone = _constant(steep_step(ranks * best, ranking.width))
    weights, points, _ = largest(everyone, kept)
    # A choice without weight is a copy of the best: no length of it is zero.
    hot = one_hot(jnp.where(weights > 0, points, points[0]), arms.shape[0], arms)
    steps = steep_step(pick(hot, ranks) * best, ranking.width)
    return Heads(pick(hot, arms), pick(hot, squares), steps, weights), everyone


def choose_tails(
    arms: Float[Array, "points dim"],
    squares: Float[Array, " points"],
    heads: Heads,
    ranking: Ranking,
    floor: Float[Array, ""],
    kept: int,
) -> Tails:
    """The points of the largest weights for the second axis, for each head."""
    ahead = jnp.dot(heads.arms, arms.T, precision=Precision.HIGHEST)
    # Broadcast once, so that derivatives are summed once.
    own = jnp.broadcast_to(heads.squares[:, None], ahead.shape)
    others = jnp.broadcast_to(squares[None], ahead.shape)
    areas = squared_areas(heads.arms[:, None], arms[None], own * others, ahead)
    # On a line any direction will do, and one is enough.
    line = _constant(jnp.max(areas, axis=1) <= floor * floor * heads.squares)
    ranks = ranking.of_second(areas, ahead, own + others, ranking.factors)
    best = inverse(jnp.where(line, 1, smooth_maximum(ranks, ranking.width)))
    numbers = jax.lax.broadcasted_iota(jnp.int32, ranks.shape, 1)
    steps = steep_step(ranks * best[:, None], ranking.width)
    steps = jnp.where(line[:, None], (numbers == 0).astype(arms.dtype), steps)
    constant, left = _constant((steps, areas / (own * own)))
    weights, points, (left,) = largest(constant, kept, left)
    return Tails(
        best=jnp.where(line, -1, best),
        scale=inverse(jnp.sum(steps, axis=-1)),
        points=points,
        kept=weights,
        left=jnp.where(line[:, None], 0, left),
        needed=jnp.sum(constant > 0, axis=1),
    )
