"""The largest of many, and the rows of them, by sorts and products that keep a batch sharded.

`top_k` would collect a batch that is spread over a mesh on every device. A sort of numbers that hold
both weight and place is one program without loops of its own.
"""

import jax
import jax.numpy as jnp
from jax.lax import Precision
from jaxtyping import Array, Float, Int

from symjax_frames._checks import is_integer

_PLACES = 20
"""Bits of a place where their number is not known: for a million points."""


def largest(
    weights: Float[Array, "*any entries"], count: int, *others: Array
) -> tuple[Float[Array, "*any kept"], Int[Array, "*any kept"], list[Array]]:
    """The largest weights along the last axis in descending order, the first one of equal ones.

    Args:
      weights: constants from 0 to 1.
      count: how many are kept, if there are so many.
      others: arrays of the same shape.

    Returns:
      The weights up to the bits that their places take (of 23; below 1e-38, zero), their places, and
      the entries of the other arrays there.
    """
    size = weights.shape[-1]
    bits = (size - 1).bit_length() if is_integer(size) else _PLACES
    words = jax.lax.bitcast_convert_type(weights.astype(jnp.float32), jnp.int32) >> bits
    places = jax.lax.broadcasted_iota(jnp.int32, weights.shape, weights.ndim - 1)
    keys, *rest = jax.lax.sort(((-words << bits) | places, *others), num_keys=1)
    keys, rest = keys[..., :count], [entries[..., :count] for entries in rest]
    words = -(keys >> bits) << bits
    kept = jax.lax.bitcast_convert_type(words, jnp.float32).astype(weights.dtype)
    return kept, keys & (2**bits - 1), rest


def one_hot(index: Int[Array, " picked"], rows: int, like: Array) -> Float[Array, "picked rows"]:
    """A one in each row, at the index. Its products with tables pick their rows.

    Unlike an index they have a product as their derivative, and no scatter.
    """
    numbers = jax.lax.broadcasted_iota(index.dtype, (index.shape[0], rows), 1)
    return (index[:, None] == numbers).astype(like.dtype)


def pick(picked: Float[Array, "picked rows"], table: Float[Array, "rows *columns"]) -> Array:
    """The rows of a table at an index, given by `one_hot`."""
    return jnp.dot(picked, table, precision=Precision.HIGHEST)
