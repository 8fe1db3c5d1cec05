"""Applying a pytree prefix of actions to a tree of data, with errors that name the leaf."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from symjax_frames._checks import repr_or_call_hint
from symjax_frames._types import Action

Move = Callable[[Action | None, Any, str], Any]


def _is_action(node: Any) -> bool:
    return node is None or isinstance(node, Action)


def argument_actions(actions: PyTree) -> PyTree:
    """The actions on a tuple of arguments, checked; a list is read as a tuple, as in `jax.vmap`."""
    check_actions(actions, "in_actions")
    return tuple(actions) if isinstance(actions, list) else actions


def check_actions(actions: PyTree, name: str) -> None:
    """Raises unless every leaf of `actions` is an `Action` or `None`."""
    for path, leaf in jax.tree_util.tree_flatten_with_path(actions, is_leaf=_is_action)[0]:
        if not _is_action(leaf):
            raise ValueError(
                f"{name}{jax.tree_util.keystr(path)} must be an Action or None (invariant), got "
                f"{repr_or_call_hint(leaf, 'an action')}"
            )


def _children(node: Any) -> tuple[list[tuple[str, Any]], Any]:
    pairs, treedef = jax.tree_util.tree_flatten_with_path(
        node, is_leaf=lambda inner: inner is not node
    )
    return [(jax.tree_util.keystr(path), child) for path, child in pairs], treedef


def is_object(node: Any) -> bool:
    """Whether a node is an array, or an object such as a module: no plain container."""
    return not isinstance(node, tuple | list | dict | None)


def map_actions(
    move: Move,
    actions: PyTree,
    tree: PyTree,
    name: str,
    is_unmoved: Callable[[Any], bool] | None = None,
) -> PyTree:
    """Maps `move(action, leaf, name)` over `tree`, whose prefix is `actions`.

    Args:
      move: called with the action that governs a leaf, the leaf, and its name, such as
        `"argument[0]['velocity']"`.
      actions: a pytree prefix of `tree` whose leaves are actions or `None`.
      tree: the data.
      name: what `tree` is called, the start of the name of every leaf.
      is_unmoved: what is a leaf where the action is `None`, as `is_leaf` of `jax.tree.map`.

    Raises:
      ValueError: if `actions` is not a prefix of `tree`.
    """
    if _is_action(actions):
        return jax.tree_util.tree_map_with_path(
            lambda path, leaf: move(actions, leaf, name + jax.tree_util.keystr(path)),
            tree,
            is_leaf=is_unmoved if actions is None else None,
        )
    prefix, prefix_def = _children(actions)
    data, data_def = _children(tree)
    if prefix_def != data_def:
        raise ValueError(
            f"the actions do not fit the data at {name}: the actions have {_outline(actions)}, the "
            f"data {_outline(tree)} (keyword arguments are never moved)"
        )
    moved = [
        map_actions(move, action, child, name + key, is_unmoved)
        for (key, action), (_, child) in zip(prefix, data, strict=True)
    ]
    return data_def.unflatten(moved)


def moved_dtype(in_actions: PyTree, args: tuple) -> Any:
    """The floating dtype that holds every argument that moves; the actions check the others."""
    dtypes: list[Any] = []

    def collect(action: Action | None, leaf: Any, _: str) -> None:
        if action is not None and hasattr(leaf, "dtype"):
            dtypes.append(leaf.dtype)

    map_actions(collect, argument_actions(in_actions), args, "argument")
    floating = [dtype for dtype in dtypes if jnp.issubdtype(dtype, jnp.floating)]
    if not floating:
        return jnp.result_type(float)
    with jax.numpy_dtype_promotion("standard"):
        return jax.dtypes.canonicalize_dtype(functools.reduce(jnp.promote_types, floating))


def elements_dtype(in_actions: PyTree, args: tuple) -> Any:
    """The dtype of the group elements that move arguments, at least float32.

    With 16 bits, a turn is off by more than what it moves is rounded by.
    """
    dtype = moved_dtype(in_actions, args)
    return dtype if jnp.finfo(dtype).bits >= 32 else jnp.dtype(jnp.float32)


def _outline(node: Any) -> str:
    if hasattr(node, "shape") and hasattr(node, "dtype"):
        return f"an array of shape {node.shape}"
    if isinstance(node, Action):
        return repr(node)
    kind = type(node).__name__
    if isinstance(node, dict):
        return f"{kind} with keys {sorted(map(str, node))}"
    if isinstance(node, tuple | list):
        return f"{kind} of length {len(node)}"
    return kind
