"""Many small arrays as one vector, for operations on each number: one kernel instead of hundreds."""

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree


class Packed(NamedTuple):
    """A tree like the parameters, as one vector; a tree itself, with one leaf."""

    vector: Array


class Packing(NamedTuple):
    """Two inverse functions of trees that have parameters in them.

    They work on arrays of JAX and of NumPy, also with leading axes, as of seeds.

    Attributes:
      pack: makes every subtree that is like the parameters `Packed`.
      unpack: makes trees like the parameters of all that is `Packed`.
    """

    pack: Callable[[Any], Any]
    unpack: Callable[[Any], Any]


def packing(params: PyTree) -> Packing:
    """The packing of trees like the parameters; nothing is packed if their dtypes differ.

    A network has tens of arrays, and an optimiser touches each of them several times. The compiler
    makes a kernel of each time, and takes about 10 ms for each kernel.

    Args:
      params: arrays, or their shapes.
    """
    structure: Any
    leaves, structure = jax.tree.flatten(params)
    shapes = [leaf.shape for leaf in leaves]
    if len(leaves) < 2 or len({leaf.dtype for leaf in leaves}) > 1:
        return Packing(lambda tree: tree, lambda tree: tree)
    ends = list(itertools.accumulate(leaf.size for leaf in leaves))

    def is_like(node: Any) -> bool:
        its_structure: Any
        found, its_structure = jax.tree.flatten(node)
        return its_structure == structure and all(
            array.shape[max(array.ndim - len(shape), 0) :] == shape
            for array, shape in zip(found, shapes, strict=True)
        )

    def packed(node: Any) -> Any:
        if not is_like(node):
            return node
        arrays = jax.tree.leaves(node)
        leading = arrays[0].shape[: arrays[0].ndim - len(shapes[0])]
        flat = [array.reshape((*leading, -1)) for array in arrays]
        return Packed(_namespace(flat[0]).concatenate(flat, axis=-1))

    def unpacked(node: Any) -> Any:
        if not isinstance(node, Packed):
            return node
        parts = _namespace(node.vector).split(node.vector, ends[:-1], axis=-1)
        leading = node.vector.shape[:-1]
        whole = [
            part.reshape((*leading, *shape)) for part, shape in zip(parts, shapes, strict=True)
        ]
        return jax.tree.unflatten(structure, whole)

    return Packing(
        lambda tree: jax.tree.map(packed, tree, is_leaf=is_like),
        lambda tree: jax.tree.map(unpacked, tree, is_leaf=lambda node: isinstance(node, Packed)),
    )


def _namespace(array: Any) -> Any:
    return np if isinstance(array, np.ndarray) else jnp
