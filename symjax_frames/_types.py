"""The records of the library: a group element, an action, a frame.

Axis names used in every signature of the library:

* `points`: points of one cloud; `dim`: coordinates of a point (1, 2, 3, ...)
* `frame`: elements of a frame; `order`: elements of a finite group
* `nodes`, `edges`: nodes and edges of a graph, or of a packed batch of graphs
* `graphs`: graphs of a packed batch
* `channels`, `features`: features of a point, a node or an edge

Clouds are rows: an element acts on a `(points, dim)` array as `x @ linear.T + shift`.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.lax import Precision
from jaxtyping import Array, Float, PyTree


class Affine(NamedTuple):
    """Isometry `x -> linear @ x + shift` of Euclidean space; leaves may be stacked.

    `linear` is orthogonal: its inverse is its transpose. An element of O(d) or SO(d) has a zero
    `shift`, a translation has the identity as `linear`.
    """

    linear: Float[Array, "*stack dim dim"]
    shift: Float[Array, "*stack dim"]

    def compose(self, other: "Affine") -> "Affine":
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
        return Affine(linear, turned + shift)

    def inverse(self) -> "Affine":
        """The element that undoes this one, `(A, a)^-1 = (A^T, -A^T a)`."""
        shift = -jnp.einsum(
            "...ji,...j->...i", self.linear, self.shift, precision=Precision.HIGHEST
        )
        return Affine(jnp.swapaxes(self.linear, -1, -2), shift)

    @classmethod
    def identity(cls, dim: int, dtype: Any = None) -> "Affine":
        """The element of `dim`-dimensional space that moves nothing."""
        return cls(jnp.eye(dim, dtype=dtype), jnp.zeros(dim, dtype=dtype))


def _multiply(weight: Float[Array, ""], value: Array) -> Array:
    return weight * value


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Action:
    """How group elements move one kind of data.

    A pytree without leaves, so it passes through `jax.jit` and `jax.vmap`.

    Attributes:
      push: `(g, x) -> rho(g) x`.
      pull: `(g, x) -> rho(g)^-1 x`, the inverse of `push`; not verified.
      scale: `(weight, x) -> weight x`, how the weight of a frame element multiplies the data. Only
        packed data, where every graph has weights of its own, needs another than the default.
    """

    push: Callable[[Any, Any], Any]
    pull: Callable[[Any, Any], Any]
    scale: Callable[[Array, Array], Array] = _multiply


class Frame(NamedTuple):
    """Weighted finite set of group elements that moves with its input, `F(g x) = g F(x)`.

    Attributes:
      elements: group elements, every leaf with a leading `frame` axis.
      weights: non-negative, summing to one over the `frame` axis. A packed batch of graphs has
        weights of shape `(frame, graphs)` and elements with leaves `(frame, graphs, ...)`.
    """

    elements: PyTree[Array]
    weights: Float[Array, "frame *graphs"]
