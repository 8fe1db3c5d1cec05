"""A function of a batch, a part of it at a time."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree


def in_parts[Output: PyTree[Array]](
    fn: Callable[[PyTree[Array]], Output], batch: PyTree[Array], at_a_time: int
) -> Output:
    """The results of a batch, of which `at_a_time` examples are in memory at once.

    Args:
      fn: of a batch to results with one row an example; compiled for one size.
      batch: arrays with one row an example.
      at_a_time: examples in a part.
    """
    count = len(jax.tree.leaves(batch)[0])
    at_a_time = min(at_a_time, count)
    parts = -(-count // at_a_time)
    # The last part is filled up with the last example.
    rows = jnp.minimum(jnp.arange(parts * at_a_time), count - 1).reshape(parts, at_a_time)
    results = jax.lax.map(fn, jax.tree.map(lambda array: array[rows], batch))
    return jax.tree.map(lambda array: array.reshape(-1, *array.shape[2:])[:count], results)
