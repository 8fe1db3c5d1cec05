"""Sums, maxima and copies along short axes, written out term by term.

On CPU a reduction of a few numbers takes ten times as long as their additions, which besides are a
part of the loop around them. The transpose of a copy is such a sum.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from symjax_frames._checks import is_integer

SHORT = 16
"""Terms that are written out, at most."""


def is_short(count: int) -> bool:
    """Whether so many terms are written out."""
    return is_integer(count) and 0 < count <= SHORT


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def total(x: Float[Array, "..."], axis: int) -> Float[Array, "..."]:
    """The sum along an axis."""
    if not is_short(x.shape[axis]):
        return jnp.sum(x, axis=axis)
    return functools.reduce(jnp.add, _terms(x, axis))


def _terms(x: Array, axis: int) -> list[Array]:
    return [jnp.squeeze(part, axis) for part in jax.lax.split(x, [1] * x.shape[axis], axis)]


@total.defjvp
def _total_tangent(axis: int, primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    return total(*primals, axis), jnp.sum(tangents[0], axis=axis)


def largest(x: Float[Array, "..."], axis: int) -> Float[Array, "..."]:
    """The maximum along an axis."""
    if not is_short(x.shape[axis]):
        return jnp.max(x, axis=axis)
    return functools.reduce(jnp.maximum, _terms(x, axis))


@functools.partial(jax.custom_jvp, nondiff_argnums=(1, 2))
def copies(x: Float[Array, "..."], count: int, axis: int) -> Float[Array, "..."]:
    """Copies of an array along a new axis. Their derivatives are added up term by term."""
    return _broadcast(x, count, axis)


def _broadcast(x: Array, count: int, axis: int) -> Array:
    x = jnp.expand_dims(x, axis)
    return jnp.broadcast_to(x, (*x.shape[:axis], count, *x.shape[axis + 1 :]))


@copies.defjvp
def _copies_tangent(
    count: int, axis: int, primals: tuple[Array], tangents: tuple[Array]
) -> tuple[Array, Array]:
    return copies(*primals, count, axis), repeated(*tangents, count, axis)


def copies_over(x: Float[Array, "..."], sizes: Sequence[int]) -> Float[Array, "..."]:
    """Copies along new axes of these sizes, before those of the array."""
    for axis, size in enumerate(sizes):
        x = copies(x, size, axis)
    return x


def repeated(change: Float[Array, "..."], count: int, axis: int) -> Float[Array, "..."]:
    """Copies of a derivative, the transpose of which is a sum that is written out."""
    if not is_short(count):
        return _broadcast(change, count, axis)
    return jax.lax.concatenate([jnp.expand_dims(change, axis)] * count, axis)


def dot(x: Float[Array, "dim *any"], y: Float[Array, "dim *any"]) -> Float[Array, "*any"]:
    """The products of vectors, the components of which are along the first axis."""
    return total(x * y, 0)


@jax.custom_jvp
def settled[Tree](x: Tree) -> Tree:
    """What is computed once, and not again for each of its uses, of which there are many."""
    return jax.lax.optimization_barrier(x)


@settled.defjvp
def _settled_tangent[Tree](primals: tuple[Tree], tangents: tuple[Tree]) -> tuple[Tree, Tree]:
    return settled(*primals), tangents[0]
