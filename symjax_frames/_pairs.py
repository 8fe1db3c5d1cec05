"""The (example, element) pairs of a batch of frames that have a weight, some at a time."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, PyTree, Shaped

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


def weighted(weights: Shaped[Array, "*batch frame graphs"], ndim: int) -> Bool[Array, "..."]:
    """Whether elements have a weight: those of a packed batch of graphs, for any of its graphs.

    Args:
      weights: those of frames.
      ndim: the number of axes before those of the graphs.
    """
    # What is not a number is no zero, and is handed on.
    nonzero = jax.lax.stop_gradient(weights) != 0
    return jnp.any(nonzero, axis=tuple(range(ndim, nonzero.ndim)))


def sum_pairs(
    evaluate: Callable[[Pairs], PyTree[Array]],
    frames: Frame,
    arrays: list[Array],
    at_a_time: int,
) -> PyTree[Array]:
    """The sum of `evaluate` over all pairs that have a weight, `at_a_time` of them in each call.

    The first call is always made, and the others within a conditional. So the cost is that of as
    many calls as the pairs need. Only the inputs of the later ones are kept for their derivatives.

    Args:
      evaluate: pairs to sums over them.
      frames: of all examples, with leaves `(batch, frame, ...)`.
      arrays: of the batch.
      at_a_time: pairs in a call.
    """
    batch, frame = frames.weights.shape[:2]
    count = batch * frame
    chosen = weighted(frames.weights, 2).reshape(count)
    rounds = -(-count // at_a_time)
    numbers = jnp.nonzero(chosen, size=rounds * at_a_time, fill_value=count)[0]
    numbers = numbers.reshape(rounds, at_a_time).astype(jnp.int32)
    flat = jax.tree.map(lambda leaf: leaf.reshape(count, *leaf.shape[2:]), frames)

    def of_round(numbers: Int[Array, " pairs"]) -> PyTree[Array]:
        real = numbers < count
        # A pair that is evaluated anyway does no harm where one is left over.
        picked = jnp.where(real, numbers, jnp.argmax(chosen))
        examples = jax.lax.div(picked, jnp.asarray(frame, picked.dtype))
        elements, weights = jax.tree.map(lambda leaf: leaf[picked], flat)
        real = real.reshape(-1, *[1] * (weights.ndim - 1))
        return evaluate(
            Pairs(
                jnp.where(numbers < count, examples, batch),
                elements,
                jnp.where(real, weights, 0),
                [array[examples] for array in arrays],
            )
        )

    # Of these rounds only what goes into them is kept.
    @jax.checkpoint
    def add_round(sums: PyTree[Array], numbers: Int[Array, " pairs"]) -> PyTree[Array]:
        return jax.lax.cond(
            numbers[0] < count,
            lambda: jax.tree.map(jnp.add, sums, of_round(numbers)),
            lambda: sums,
        )

    def add_rounds(sums: PyTree[Array]) -> PyTree[Array]:
        return jax.lax.scan(lambda sums, row: (add_round(sums, row), None), sums, numbers[1:])[0]

    sums = of_round(numbers[0])
    if rounds == 1:
        return sums
    return jax.lax.cond(numbers[1, 0] < count, add_rounds, lambda sums: sums, sums)
