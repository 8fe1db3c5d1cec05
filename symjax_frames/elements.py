"""Group elements: the isometries of Euclidean space, pytrees that compose and invert."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax.lax import Precision
from jaxtyping import Array, Float


class Isometry(NamedTuple):
    """Isometry `x -> linear @ x + shift` of Euclidean space, an element of E(dim).

    Stacked leaves are many isometries. An element of O(dim) or SO(dim) has a zero `shift`, a
    translation has the identity as `linear`.

    Attributes:
      linear: an orthogonal matrix, which is not verified: it is inverted by transposing it, here
        and in every action.
      shift: what is added after the matrix is applied.
    """

    linear: Float[Array, "*stack dim dim"]
    shift: Float[Array, "*stack dim"]

    def compose(self, other: "Isometry") -> "Isometry":
        """The isometry `self other`, which moves by `other` first.

        Formula: `(A, a)(B, b) = (A B, A b + a)`. Stacked axes broadcast.
        """
        linear = jnp.einsum(
            "...ij,...jk->...ik", self.linear, other.linear, precision=Precision.HIGHEST
        )
        turned = jnp.einsum(
            "...ij,...j->...i", self.linear, other.shift, precision=Precision.HIGHEST
        )
        turned, shift = jnp.broadcast_arrays(turned, self.shift)
        return Isometry(linear, turned + shift)

    def inverse(self) -> "Isometry":
        """The isometry that undoes this one, `(A, a)^-1 = (A^T, -A^T a)`, by transposing."""
        shift = -jnp.einsum(
            "...ji,...j->...i", self.linear, self.shift, precision=Precision.HIGHEST
        )
        return Isometry(jnp.swapaxes(self.linear, -1, -2), shift)

    @classmethod
    def identity(cls, dim: int, dtype: Any = None) -> "Isometry":
        """The isometry of `dim`-dimensional space that moves nothing."""
        return cls(jnp.eye(dim, dtype=dtype), jnp.zeros(dim, dtype=dtype))
