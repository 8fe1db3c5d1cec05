"""Group elements: small pytrees that compose, invert, and have an identity."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax.lax import Precision
from jaxtyping import Array, Float


class Isometry(NamedTuple):
    """Isometry `x -> linear @ x + shift` of Euclidean space; leaves may be stacked.

    `linear` is orthogonal: its inverse is its transpose. An element of O(d) or SO(d) has a zero
    `shift`, a translation has the identity as `linear`.
    """

    linear: Float[Array, "*stack dim dim"]
    shift: Float[Array, "*stack dim"]

    def compose(self, other: "Isometry") -> "Isometry":
        """The element `self other`, which moves by `other` first.

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
        """The element that undoes this one, `(A, a)^-1 = (A^T, -A^T a)`."""
        shift = -jnp.einsum(
            "...ji,...j->...i", self.linear, self.shift, precision=Precision.HIGHEST
        )
        return Isometry(jnp.swapaxes(self.linear, -1, -2), shift)

    @classmethod
    def identity(cls, dim: int, dtype: Any = None) -> "Isometry":
        """The element of `dim`-dimensional space that moves nothing."""
        return cls(jnp.eye(dim, dtype=dtype), jnp.zeros(dim, dtype=dtype))
