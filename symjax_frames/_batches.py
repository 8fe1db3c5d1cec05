"""The arguments of a function of a batch, as arrays whose first axis is that of the batch."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from symjax_frames._checks import describe, is_integer

_SHARED = object()
"""The axis of what all examples share."""


class Batch(NamedTuple):
    """Arguments, taken apart.

    Attributes:
      arrays: those that have an entry for each example, along their first axis.
      rebuild: from an entry of each to the arguments and the keyword arguments of one example.
      size: the number of examples.
    """

    arrays: list[Array]
    rebuild: Callable[[list[Array]], tuple[tuple, dict]]
    size: int


def check_axes(in_axes: PyTree[int | None]) -> PyTree[int | None]:
    """`in_axes`, a list of them as a tuple, as in `jax.vmap`.

    Raises:
      ValueError: if a leaf is neither an integer nor `None`.
    """
    if not all(map(is_integer, jax.tree.leaves(in_axes))):
        raise ValueError(f"in_axes must be integers or None, or a tree of them, got {in_axes!r}")
    return tuple(in_axes) if isinstance(in_axes, list) else in_axes


def take_apart(in_axes: PyTree[int | None], args: tuple, kwargs: dict) -> Batch:
    """The arguments, whose batch is along `in_axes`, and that of keywords along their first axis.

    Raises:
      ValueError: if the axes do not fit the arguments, or these are not of one number of examples.
    """
    axes = in_axes if isinstance(in_axes, tuple) else (in_axes,) * len(args)
    if len(axes) != len(args):
        raise ValueError(
            f"in_axes must have an entry for each of the {len(args)} positional arguments, got "
            f"{in_axes!r}"
        )
    # What all examples share is left as it is: a copy of a module is another module.
    batched = [index for index, axis in enumerate(axes) if axis is not None]
    data = [args[index] for index in batched], kwargs
    # An entry `None` is a leaf of the axes, and an argument `None` is none of the arguments.
    data_axes = jax.tree.map(
        lambda axis: _SHARED if axis is None else axis,
        ([axes[index] for index in batched], 0),
        is_leaf=lambda node: node is None,
    )
    leaves, tree = jax.tree.flatten(data)
    try:
        leaf_axes = jax.tree.leaves(jax.tree.broadcast(data_axes, data))
    except ValueError as error:
        raise ValueError(f"in_axes={in_axes!r} does not fit the arguments: {error}") from error
    arrays = [
        _batch_first(leaf, axis)
        for leaf, axis in zip(leaves, leaf_axes, strict=True)
        if axis is not _SHARED
    ]
    found = {array.shape[0] for array in arrays}
    for size in found:
        if not is_integer(size):
            raise ValueError(
                f"the number of examples must be known, got {size}; a symbolic one takes "
                "jax.vmap(frame_average(...))"
            )
    sizes = sorted(found)
    if len(sizes) != 1:
        raise ValueError(
            f"in_axes={in_axes!r} must leave the arguments one number of examples, got "
            f"{sizes or 'none that has an axis of the batch'}"
        )

    def rebuild(entries: list[Array]) -> tuple[tuple, dict]:
        own = iter(entries)
        filled = [
            leaf if axis is _SHARED else next(own)
            for leaf, axis in zip(leaves, leaf_axes, strict=True)
        ]
        some, words = jax.tree.unflatten(tree, filled)
        examples = dict(zip(batched, some, strict=True))
        return tuple(examples.get(index, arg) for index, arg in enumerate(args)), words

    return Batch(arrays, rebuild, sizes[0])


def _batch_first(leaf: Any, axis: int) -> Array:
    if not isinstance(leaf, jax.Array | np.ndarray) or not -leaf.ndim <= axis < leaf.ndim:
        raise ValueError(
            f"an argument has no axis {axis} for the batch, got {describe(leaf)}; its entry of "
            "in_axes may be None (keyword arguments must have one entry for each example)"
        )
    return jnp.moveaxis(jnp.asarray(leaf), axis, 0)
