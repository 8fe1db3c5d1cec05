"""The (example, element) pairs of a batch of frames that have a weight, some at a time."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, PyTree, Shaped

from symjax_frames._sharding import on_own_mesh
from symjax_frames._types import Frame

FEW = 4
"""Pairs that cost little more together than one of them alone."""


class Pairs(NamedTuple):
    """Some pairs, in the order of their examples; those left over are copies of weight zero.

    Attributes:
      examples: of which examples they are; of those left over, one beyond the last.
      elements: their group elements.
      weights: their weights.
      entries: of the arrays of the batch.
    """

    examples: Int[Array, " pairs"]
    elements: PyTree[Array]
    weights: Shaped[Array, "pairs *graphs"]
    entries: list[Array]


def weighted(weights: Shaped[Array, "..."], ndim: int) -> Bool[Array, "..."]:
    """Whether elements have a weight: those of a packed batch of graphs, for any of its graphs.

    Args:
      weights: those of frames.
      ndim: the number of axes before those of the graphs.
    """
    # What is not a number is no zero, and is handed on.
    nonzero = jax.lax.stop_gradient(weights) != 0
    return jnp.any(nonzero, axis=tuple(range(ndim, nonzero.ndim)))


@on_own_mesh
def sum_by_example(
    terms: Shaped[Array, "pairs *any"], examples: Int[Array, " pairs"], size: int
) -> Shaped[Array, "batch *any"]:
    """The sums of the terms of each of `size` examples, which are in ascending order."""
    return jax.ops.segment_sum(terms, examples, size, indices_are_sorted=True)


def sum_pairs[Sums](
    evaluate: Callable[[Pairs], Sums],
    merge: Callable[[Sums, Sums], Sums],
    frames: Frame,
    arrays: list[Array],
    capacity: int,
    axis_name: str | None = None,
) -> Sums:
    """The sums over all pairs that have a weight, in rounds.

    The first round is always evaluated, and the others within a conditional: there are as many as
    the pairs need. Only what goes into the later ones is kept for their derivatives.

    Args:
      evaluate: pairs to sums over them.
      merge: two such sums to one.
      frames: of all examples, with leaves `(batch, frame, ...)`.
      arrays: of the batch.
      capacity: pairs in the first round, fewer than there are; in each later one a quarter of it, or
        at least a few.
      axis_name: that of a `jax.vmap` over shares of the batch, which go on to another round together.
    """
    first, rest = _rounds(frames.weights, capacity, max(capacity // 4, min(capacity, FEW)))
    # Without this, the conditional would be of each share, and evaluate all rounds for all.
    needed = jnp.sum(rest[:, 0] >= 0)
    if axis_name is not None:
        # A `pmax` over an axis that is split has no rule in JAX.
        needed = jnp.max(jax.lax.all_gather(needed, axis_name))
    numbers = jnp.arange(len(rest), dtype=needed.dtype)

    # Of these rounds only what goes into them is kept.
    @jax.checkpoint
    def add_round(sums: Sums, number: Array, pairs: Array) -> Sums:
        return jax.lax.cond(
            number < needed,
            lambda: merge(sums, evaluate(_pairs(pairs, frames, arrays))),
            lambda: sums,
        )

    def add_rounds(sums: Sums) -> Sums:
        rounds = numbers, rest
        return jax.lax.scan(lambda sums, row: (add_round(sums, *row), None), sums, rounds)[0]

    sums = evaluate(_pairs(first, frames, arrays))
    return jax.lax.cond(needed > 0, add_rounds, lambda sums: sums, sums)


@on_own_mesh
def _rounds(
    weights: Array, capacity: int, later: int
) -> tuple[Int[Array, " first"], Int[Array, "rounds later"]]:
    """The numbers of the pairs that have a weight, ascending; what is left over is negative."""
    chosen = weighted(weights, 2).reshape(-1)
    rounds = -(-(chosen.size - capacity) // later)
    numbers = jnp.nonzero(chosen, size=capacity + rounds * later, fill_value=-1)[0]
    numbers = numbers.astype(jnp.int32)
    return numbers[:capacity], numbers[capacity:].reshape(rounds, later)


@on_own_mesh
def _pairs(numbers: Int[Array, " pairs"], frames: Frame, arrays: list[Array]) -> Pairs:
    batch, frame = frames.weights.shape[:2]
    real = numbers >= 0
    # A pair that is evaluated anyway does no harm where one is left over.
    picked = jnp.where(real, numbers, jnp.maximum(numbers[0], 0))
    examples = jax.lax.div(picked, jnp.asarray(frame, picked.dtype))

    def pick(leaf: Array) -> Array:
        return leaf.reshape(batch * frame, *leaf.shape[2:])[picked]

    elements, weights = jax.tree.map(pick, (frames.elements, frames.weights))
    return Pairs(
        jnp.where(real, examples, batch),
        elements,
        jnp.where(real.reshape(-1, *[1] * (weights.ndim - 1)), weights, 0),
        [array[examples] for array in arrays],
    )
