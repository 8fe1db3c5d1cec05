"""The (example, element) pairs of a batch of frames that have a weight, some at a time."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, PyTree, Shaped

from symjax_frames._sharding import on_own_mesh
from symjax_frames._types import Frame


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


def sum_pairs(
    evaluate: Callable[[Pairs], PyTree[Array]],
    frames: Frame,
    arrays: list[Array],
    at_a_time: int,
    axis_name: str | None = None,
) -> PyTree[Array]:
    """The sum of `evaluate` over all pairs that have a weight, `at_a_time` of them in each round.

    The first round is always evaluated, and the others within a conditional: there are as many as
    the pairs need. Only what goes into the later ones is kept for their derivatives.

    Args:
      evaluate: pairs to sums over them.
      frames: of all examples, with leaves `(batch, frame, ...)`.
      arrays: of the batch.
      at_a_time: pairs in a round.
      axis_name: that of a `jax.vmap` over shares of the batch, which go on to another round together.
    """
    rounds = _rounds(frames.weights, at_a_time)
    # Without this, the conditional would be of each share, and evaluate all rounds for all.
    needed = jnp.sum(rounds[:, 0] >= 0)
    if axis_name is not None:
        # A `pmax` over an axis that is split has no rule in JAX.
        needed = jnp.max(jax.lax.all_gather(needed, axis_name))
    numbers = jnp.arange(len(rounds), dtype=needed.dtype)

    # Of these rounds only what goes into them is kept.
    @jax.checkpoint
    def add_round(sums: PyTree[Array], number: Array, pairs: Array) -> PyTree[Array]:
        return jax.lax.cond(
            number < needed,
            lambda: jax.tree.map(jnp.add, sums, evaluate(_pairs(pairs, frames, arrays))),
            lambda: sums,
        )

    def add_rounds(sums: PyTree[Array]) -> PyTree[Array]:
        rest = numbers[1:], rounds[1:]
        return jax.lax.scan(lambda sums, row: (add_round(sums, *row), None), sums, rest)[0]

    sums = evaluate(_pairs(rounds[0], frames, arrays))
    if len(rounds) == 1:
        return sums
    return jax.lax.cond(needed > 1, add_rounds, lambda sums: sums, sums)


@on_own_mesh
def _rounds(weights: Array, at_a_time: int) -> Int[Array, "rounds pairs"]:
    """The numbers of the pairs that have a weight, ascending; what is left over is negative."""
    chosen = weighted(weights, 2).reshape(-1)
    rounds = -(-chosen.size // at_a_time)
    numbers = jnp.nonzero(chosen, size=rounds * at_a_time, fill_value=-1)[0]
    return numbers.reshape(rounds, at_a_time).astype(jnp.int32)


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
