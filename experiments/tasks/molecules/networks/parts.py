"""Elements of local frames in parts, so that what is in between takes memory for one of them."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from experiments.tasks.molecules.networks.neighbour_table import Elements

_EDGES = 2**16
"""Edges that are looked at together: their features should fit into the caches of a processor."""


class Parts:
    """Elements, those with a weight first, cut into parts of one size.

    Parts whose elements are all padding are not evaluated. So what is computed costs in proportion to
    the elements that have a weight, however many there is room for, and has one program for all.

    Args:
      elements: of all atoms, with a weight or as padding; their `atoms` are no `None`.
      num_atoms: the number of atoms.
      edges: that each element looks at.
    """

    def __init__(self, elements: Elements, num_atoms: int, edges: int):
        assert elements.atoms is not None
        self.count = elements.weights.shape[0]
        self.size = jax.core.min_dim(self.count, jax.core.max_dim(1, _EDGES // edges))
        self.number = -(-self.count // self.size)
        self.elements = Elements(
            self._cut(elements.atoms, num_atoms),
            self._cut(elements.axes, 0),
            self._cut(elements.weights, 0),
        )

    def _cut(self, array: Array, filling: int) -> Array:
        widths = ((0, self.number * self.size - self.count), *((0, 0),) * (array.ndim - 1))
        padded = jnp.pad(array, widths, constant_values=filling)
        return padded.reshape(self.number, self.size, *array.shape[1:])

    def map(self, fn: Callable[..., Array], features: int, dtype: Any, *arrays: Array) -> Array:
        """A function of parts, kept in no memory but its own, and zero for padding.

        Args:
          fn: takes `Elements` of one part, and the rows of the arrays for it, to features of each.
          features: how many.
          dtype: of these.
          *arrays: with an axis of parts.
        """
        shape = (self.size, features)

        def of_part(part: Elements, *arrays: Array) -> Array:
            zeros = jnp.zeros(shape, dtype)
            used = jnp.any(part.weights > 0)
            return jax.lax.cond(used, fn, lambda *_: zeros, part, *arrays)

        return jax.lax.map(lambda row: jax.checkpoint(of_part)(*row), (self.elements, *arrays))

    def joined(self, values: Array) -> Array:
        """What was found of the parts, as rows for the elements."""
        return values.reshape(self.number * self.size, *values.shape[2:])[: self.count]
