"""The largest of many, and the rows of them, by programs that keep a batch sharded.

`top_k` would collect a batch that is spread over a mesh on every device. Of few numbers, each is
compared with all others, which takes far less time than a sort of many short rows. More are sorted
as whole numbers that hold both weight and place, one program without loops of its own.
"""

import jax
import jax.numpy as jnp
from jax.lax import Precision
from jaxtyping import Array, Bool, Float, Int

from symjax_frames._checks import is_integer
from symjax_frames._unrolled import copies, is_short, settled

_PLACES = 20
"""Bits of a place where their number is not known: for a million points."""

_FEW = 32
"""Numbers that are compared with each other, at most."""


def few(size: int) -> bool:
    """Whether so many numbers are compared with each other, rather than sorted."""
    return is_integer(size) and size <= _FEW


def ordering_keys(weights: Float[Array, "*any entries"]) -> Int[Array, "*any entries"]:
    """Distinct whole numbers, larger for larger weights, and for the first of equal ones.

    Args:
      weights: constants from 0 to 1. Below 1e-38 they count as zero; their last bits, as many as
        their places take, of 23, do not count.
    """
    size = weights.shape[-1]
    bits = (size - 1).bit_length() if is_integer(size) else _PLACES
    words = jax.lax.bitcast_convert_type(weights.astype(jnp.float32), jnp.int32) >> bits
    places = jax.lax.broadcasted_iota(jnp.int32, weights.shape, weights.ndim - 1)
    return (words << bits) | (2**bits - 1 - places)


def total_before(
    keys: Int[Array, "*any entries"], amounts: Int[Array, "*any #entries"]
) -> Int[Array, "*any entries"]:
    """The sum, for each of few entries, of the amounts of all entries of a larger key."""
    # Computed once, and not once for each comparison. These are one reduction: written out, they take
    # no less time, and longer to compile.
    keys, amounts = settled((keys, amounts))
    before = keys[..., None, :] > keys[..., :, None]
    return jnp.sum(jnp.where(before, amounts[..., None, :], 0), axis=-1, dtype=keys.dtype)


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
    keys, *rest = jax.lax.sort((-ordering_keys(weights), *others), num_keys=1)
    keys, rest = -keys[..., :count], [entries[..., :count] for entries in rest]
    words = keys >> bits << bits
    kept = jax.lax.bitcast_convert_type(words, jnp.float32).astype(weights.dtype)
    return kept, 2**bits - 1 - (keys & (2**bits - 1)), rest


@jax.custom_jvp
def pick(
    table: Float[Array, "rows entries"], index: Int[Array, " picked"]
) -> Float[Array, "rows picked"]:
    """The entries of each row at an index. The derivative is a product with ones, and no scatter."""
    entries = table.shape[1]
    if not is_short(entries):
        return table.at[:, index].get(mode="promise_in_bounds")
    found = jnp.broadcast_to(table[:, :1], (table.shape[0], index.shape[0]))
    for entry in range(1, entries):
        found = jnp.where((index == entry)[None], table[:, entry : entry + 1], found)
    return settled(found)


@pick.defjvp
def _pick_tangent(
    primals: tuple[Array, Array], tangents: tuple[Array, Array]
) -> tuple[Array, Array]:
    (table, index), (change, _) = primals, tangents
    numbers = jax.lax.broadcasted_iota(index.dtype, (index.shape[0], table.shape[1]), 1)
    ones = (index[:, None] == numbers).astype(table.dtype)
    if is_short(index.shape[0]):
        found = jnp.sum(copies(change, index.shape[0], 1) * ones[None], axis=2)
    else:
        found = jnp.dot(change, ones.T, precision=Precision.HIGHEST)
    return pick(table, index), found


def assign(
    weights: Float[Array, " entries"], numbers: Int[Array, " entries"], room: int
) -> tuple[Int[Array, " room"], Int[Array, " room"], Bool[Array, " room"]]:
    """Gives each entry as many slots as it needs, those of the largest weights first.

    Args:
      weights: constants from 0 to 1.
      numbers: how many slots each one needs; none if it has no weight.
      room: how many slots there are.

    Returns:
      The entry of each slot, the how manieth of its slots it is, and whether there is one. A slot
      that is left over is the first one again.
    """
    total = jnp.sum(numbers, dtype=numbers.dtype)
    slots = jax.lax.iota(jnp.int32, room)
    filled = slots < total
    slots = jnp.where(filled, slots, 0)
    size = weights.shape[0]
    if few(size):
        starts = total_before(ordering_keys(weights), numbers)
        # An entry without slots starts beyond all others.
        starts = jnp.where(numbers > 0, starts, room)
        starts = settled(starts * size + jax.lax.iota(jnp.int32, size))
        # Of all entries that start at a slot or before it, it belongs to the last one.
        before = starts[None] < ((slots + 1) * size)[:, None]
        last = settled(jnp.max(jnp.where(before, starts[None], 0), axis=1))
        start, choice = split(last, size)
        return choice, slots - start, filled
    # Of more entries than there are slots, only the first have any.
    _, places, _ = largest(weights, room)
    numbers = numbers.at[places].get(mode="promise_in_bounds")
    starts = settled(jax.lax.cumsum(numbers) - numbers)
    started = jnp.sum(starts[None] <= slots[:, None], axis=1, dtype=slots.dtype)
    # Entries without slots start beyond the slots that are filled.
    order = started - 1
    start = starts.at[order].get(mode="promise_in_bounds")
    return places.at[order].get(mode="promise_in_bounds"), slots - start, filled


def split(index: Int[Array, "..."], size: int) -> tuple[Int[Array, "..."], Int[Array, "..."]]:
    """Row and column in a table of `size` columns."""
    columns = jnp.asarray(size, index.dtype)
    return jax.lax.div(index, columns), jax.lax.rem(index, columns)
