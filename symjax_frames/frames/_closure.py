"""The elements of a closure, in the order in which the ambiguity of a basis brings them in.

Each basis is multiplied by the elements of a group of signs or signed permutations. Those that move
the last axis alone, which no point gives, always count, and as much as the identity. The others come
in cosets of these: first those that leave the first axis alone, which count where the second axis is
ambiguous, then the rest, which count where the first one is.
"""

import functools
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from symjax_frames._unrolled import settled
from symjax_frames.frames._smooth import inverse
from symjax_frames.groups import Group


class Cosets(NamedTuple):
    """A closure as products of the representatives of cosets and the elements of a subgroup.

    Attributes:
      matrices: the representatives, the identity first.
      last: the signs that the elements of the subgroup give the last axis, the one first.
      axes: the first axis that each representative moves; the last one for the identity.
    """

    matrices: np.ndarray
    last: np.ndarray
    axes: np.ndarray

    def needed(self, openness: list[Float[Array, "*any"]]) -> Int[Array, "*any"]:
        """How many cosets count, from the ambiguity of each axis but the last."""
        found = jnp.ones_like(openness[0], jnp.int32)
        for axis in reversed(range(len(openness))):
            # All cosets of an axis come after those of the axes that follow it.
            number = np.int32(np.sum(self.axes >= axis))
            found = jnp.where(openness[axis] > 0, number, found)
        return found

    def whole(self, openness: list[Float[Array, "*any"]]) -> Float[Array, "*any"]:
        """The sum of the ambiguities of the first axes that all elements of the closure move."""
        order = len(self.last)
        found = jnp.full_like(openness[0], order)
        for axis, ambiguity in enumerate(openness):
            found = found + int(np.sum(self.axes == axis)) * order * ambiguity
        return found

    def shares(
        self, openness: list[Float[Array, " bases"]], turn: Int[Array, " bases"]
    ) -> Float[Array, " bases"]:
        """The share of the weight of a basis that each element of a coset has."""
        moved = jnp.ones_like(openness[0])
        for axis in reversed(range(len(openness))):
            # All cosets of an axis come after those of the axes that follow it.
            moved = jnp.where(turn < int(np.sum(self.axes > axis)), moved, openness[axis])
        return moved * inverse(self.whole(openness))

    def turned(
        self, axes: Float[Array, "dim dim bases"], turn: Int[Array, " bases"]
    ) -> Float[Array, "elements dim dim"]:
        """The bases, whose axes are rows, times the elements of cosets, as columns."""
        dim, order = len(axes), len(self.last)
        if (self.matrices * np.eye(dim) == self.matrices).all():
            axes = (
                axes * _entries(np.diagonal(self.matrices, axis1=1, axis2=2), turn, axes)[:, None]
            )
        else:
            steps = _entries(self.matrices.reshape(-1, dim * dim), turn, axes)
            steps = settled(steps).reshape(dim, dim, 1, -1)
            terms = [axes[k, None] * steps[k] for k in range(dim)]
            axes = sum(terms[1:], terms[0])
        flips = np.ones((order, 1, dim))
        flips[..., -1] = self.last[:, None]
        found = axes.T[:, None] * jnp.asarray(flips, axes.dtype)[None]
        return found.reshape(-1, dim, dim)


@functools.cache
def cosets_of(closure: Group) -> Cosets:
    """The cosets of a closure that holds the identity."""
    assert closure.elements is not None
    linear, dim = np.asarray(closure.elements.linear), closure.dim
    moves = (linear != np.eye(dim)).any(axis=1)
    first = np.where(moves[:, :-1].any(axis=1), moves.argmax(axis=1), dim - 1)
    own = linear[first == dim - 1]
    own = own[np.argsort(-own[:, -1, -1])]
    matrices, axes, seen = [], [], set()
    for axis in reversed(range(dim)):
        for matrix in own[:1] if axis == dim - 1 else linear[first == axis]:
            if (matrix + 0).tobytes() not in seen:
                seen |= {(matrix @ other + 0).tobytes() for other in own}
                matrices.append(matrix)
                axes.append(axis)
    return Cosets(np.stack(matrices), own[:, -1, -1], np.array(axes))


def _entries(
    table: np.ndarray, index: Int[Array, " picked"], like: Array
) -> Float[Array, "columns picked"]:
    """The rows of a small table at an index, by comparisons, which keep a split batch in place."""
    columns = jnp.asarray(table.T, like.dtype)
    found = jnp.broadcast_to(columns[:, :1], (len(columns), index.shape[0]))
    for row in range(1, len(table)):
        found = jnp.where((index == row)[None], columns[:, row : row + 1], found)
    return found
