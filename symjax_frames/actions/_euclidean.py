"""Actions of `Isometry` elements on Euclidean data: points, vectors, pseudovectors, tensors."""

import functools

import jax.numpy as jnp
from jaxtyping import Array, Float

from symjax_frames._checks import check_natural, holds
from symjax_frames._matrices import apply, determinant
from symjax_frames._types import Action
from symjax_frames._unrolled import copies_over
from symjax_frames.elements import Isometry


def _check(g: Isometry, x: Array, rank: int, kind: str) -> None:
    if g.linear.ndim != 2:
        raise ValueError(
            f"{kind} are moved by one element at a time, got elements of shape {g.linear.shape}; data "
            "of a packed frame need packed(action, segment_ids), and only they do"
        )
    dim = g.linear.shape[-1]
    if x.ndim < rank or any(size != dim for size in x.shape[x.ndim - rank :]):
        raise ValueError(
            f"{kind} in {dim} dimensions end in {rank} axis(es) of length {dim}, one row per point; "
            f"got shape {x.shape}"
        )
    if not holds(g.linear.dtype, x.dtype):
        raise ValueError(
            f"{kind} of dtype {x.dtype} cannot be moved by group elements of dtype "
            f"{g.linear.dtype}; what moves must be floating, and of no more digits than the elements "
            "that move it, so convert it, or give it the action None"
        )


def _shifted(
    x: Float[Array, "*batch dim"], shift: Float[Array, " dim"]
) -> Float[Array, "*batch dim"]:
    return x + copies_over(shift, x.shape[:-1])


def _push_point(g: Isometry, x: Float[Array, "*batch dim"]) -> Float[Array, "*batch dim"]:
    """Moves positions, `x -> R x + t`, rows of shape `(..., dim)`."""
    _check(g, x, 1, "points")
    return _shifted(apply(g.linear, x.astype(g.linear.dtype)), g.shift).astype(x.dtype)


def _pull_point(g: Isometry, x: Float[Array, "*batch dim"]) -> Float[Array, "*batch dim"]:
    _check(g, x, 1, "points")
    return apply(g.linear.T, _shifted(x.astype(g.linear.dtype), -g.shift)).astype(x.dtype)


def _turn(linear: Float[Array, "dim dim"], x: Array, rank: int) -> Array:
    turned = x.astype(linear.dtype)
    for axis in range(-rank, 0):
        turned = jnp.moveaxis(apply(linear, jnp.moveaxis(turned, axis, -1)), -1, axis)
    return turned.astype(x.dtype)


def tensors(rank: int) -> Action:
    r"""Action on Cartesian tensors: each of the last `rank` axes turns.

    Formula: $(\rho(R, t)\, x)_{i \ldots j} = \sum R_{ia} \cdots R_{jb}\, x_{a \ldots b}$, for data
    of shape `(..., dim, ..., dim)`. Rank 0 is invariant, rank 1 are `vectors`, rank 2 are inertia,
    stress, quadrupole and polarizability tensors.

    Args:
      rank: the number of axes that turn, at least 0.

    Returns:
      The action, the same object for the same rank.

    Raises:
      ValueError: if `rank` is not a non-negative integer.
    """
    return _tensors(check_natural("rank", rank))


@functools.cache
def _tensors(rank: int) -> Action:
    kind = "vectors" if rank == 1 else f"tensors of rank {rank}"

    def push(g: Isometry, x: Array) -> Array:
        """Turns the last `rank` axes, `x_i...j -> sum R_ia ... R_jb x_a...b`."""
        _check(g, x, rank, kind)
        return _turn(g.linear, x, rank)

    def pull(g: Isometry, x: Array) -> Array:
        _check(g, x, rank, kind)
        return _turn(g.linear.T, x, rank)

    return Action(push, pull, name="vectors" if rank == 1 else f"tensors({rank})")


def _push_pseudovector(g: Isometry, x: Float[Array, "*batch dim"]) -> Float[Array, "*batch dim"]:
    """Moves angular momenta and torques, `v -> det(R) R v`, rows of shape `(..., dim)`."""
    _check(g, x, 1, "pseudovectors")
    return jnp.sign(determinant(g.linear)).astype(x.dtype) * _turn(g.linear, x, 1)


def _pull_pseudovector(g: Isometry, x: Float[Array, "*batch dim"]) -> Float[Array, "*batch dim"]:
    _check(g, x, 1, "pseudovectors")
    return jnp.sign(determinant(g.linear)).astype(x.dtype) * _turn(g.linear.T, x, 1)


points = Action(_push_point, _pull_point, name="points")
"""Action on positions, `x -> R x + t`, for data of shape `(..., dim)`."""

vectors = tensors(1)
"""Action on velocities, forces and dipoles, `v -> R v`, for data of shape `(..., dim)`."""

pseudovectors = Action(_push_pseudovector, _pull_pseudovector, name="pseudovectors")
"""Action on angular momenta and torques, `v -> det(R) R v`, for data of shape `(..., dim)`."""
