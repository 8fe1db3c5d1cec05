"""The infinite groups of Euclidean space: T, O, SO, E, SE in any dimension."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from symjax_frames._checks import check_positive
from symjax_frames._matrices import at_least_float32, determinant
from symjax_frames._sharding import on_own_mesh
from symjax_frames.elements import Isometry
from symjax_frames.groups._group import Group


def _draw_orthogonal(key: Key[Array, ""], dim: int, dtype: Any) -> Float[Array, "dim dim"]:
    # Q of a Gaussian matrix is Haar only once the signs of R's diagonal are moved into Q.
    gaussian = jax.random.normal(key, (dim, dim), dtype)
    q, r = jnp.linalg.qr(at_least_float32(gaussian))
    signs = jnp.where(jnp.diagonal(r) < 0, -1, 1).astype(q.dtype)
    return (q * jnp.broadcast_to(signs[None, :], q.shape)).astype(dtype)


def _draw_rotation(key: Key[Array, ""], dim: int, dtype: Any) -> Float[Array, "dim dim"]:
    q = _draw_orthogonal(key, dim, dtype)
    sign = jnp.where(determinant(q) < 0, -1, 1).astype(dtype)
    return q.at[:, 0].multiply(sign)


def _identity(key: Key[Array, ""], dim: int, dtype: Any) -> Float[Array, "dim dim"]:
    del key
    return jnp.eye(dim, dtype=dtype)


def _make(letters: str, dim: int, linear: Callable, shifts: bool) -> Group:
    dim = check_positive("dim", dim)

    @on_own_mesh
    def draw(key: Key[Array, ""], dtype: Any) -> Isometry:
        turn, move = jax.random.split(key)
        if shifts:
            shift = jax.random.normal(move, (dim,), dtype)
        else:
            shift = jnp.zeros(dim, dtype)
        return Isometry(linear(turn, dim, dtype), shift)

    return Group(f"{letters}({dim})", dim, None, draw, compact=not shifts)


def translation(dim: int) -> Group:
    """T(dim): `x -> x + t`. Not compact: it has no Haar probability."""
    return _make("T", dim, _identity, shifts=True)


def orthogonal(dim: int) -> Group:
    """O(dim): rotations and reflections about the origin, with Haar sampling.

    References:
      Mezzadri, How to generate random matrices from the classical compact groups, 2007,
      arXiv:math-ph/0609050.
    """
    return _make("O", dim, _draw_orthogonal, shifts=False)


def special_orthogonal(dim: int) -> Group:
    """SO(dim): rotations about the origin, with Haar sampling."""
    return _make("SO", dim, _draw_rotation, shifts=False)


def euclidean(dim: int) -> Group:
    """E(dim): rotations, reflections and translations. Not compact."""
    return _make("E", dim, _draw_orthogonal, shifts=True)


def special_euclidean(dim: int) -> Group:
    """SE(dim): rotations and translations. Not compact."""
    return _make("SE", dim, _draw_rotation, shifts=True)
