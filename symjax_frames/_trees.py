"""Applying a pytree prefix of actions to a tree of data, with errors that name the place."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

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
                f"{leaf!r}"
            )


def _children(node: Any) -> tuple[list[tuple[str, Any]], Any]:
    pairs, treedef = jax.tree_util.tree_flatten_with_path(
        node, is_leaf=lambda inner: inner is not node
    )
    return [(jax.tree_util.keystr(path), child) for path, child in pairs], treedef


def map_actions(move: Move, actions: PyTree, tree: PyTree, where: str) -> PyTree:
    """Maps `move(action, leaf, place)` over `tree`, whose prefix is `actions`.

    Args:
      move: called with the action that governs a leaf, the leaf, and its place, such as
        `"argument[0]['velocity']"`.
      actions: a pytree prefix of `tree` whose leaves are actions or `None`.
      tree: the data.
      where: what `tree` is, the start of every place.

    Raises:
      ValueError: if `actions` is not a prefix of `tree`.
    """
    if _is_action(actions):
        return jax.tree_util.tree_map_with_path(
            lambda path, leaf: move(actions, leaf, where + jax.tree_util.keystr(path)), tree
        )
    prefix, prefix_def = _children(actions)
    data, data_def = _children(tree)
    if prefix_def != data_def:
        raise ValueError(
            f"the actions do not fit the data at {where}: the actions have {_outline(actions)}, the "
            f"data {_outline(tree)} (keyword arguments are never moved)"
        )
    moved = [
        map_actions(move, action, child, where + place)
        for (place, action), (_, child) in zip(prefix, data, strict=True)
    ]
    return data_def.unflatten(moved)


def moved_dtype(in_actions: PyTree, args: tuple) -> Any:
    """The dtype of the first argument that moves; the others are checked against it."""
    found: list[Any] = []

    def look(action: Action | None, leaf: Any, place: str) -> None:
        if action is not None and hasattr(leaf, "dtype"):
            found.append(leaf.dtype)

    map_actions(look, argument_actions(in_actions), args, "argument")
    floating = [dtype for dtype in found if jnp.issubdtype(dtype, jnp.floating)]
    return jax.dtypes.canonicalize_dtype(floating[0]) if floating else jnp.result_type(float)


def _outline(node: Any) -> str:
    if hasattr(node, "shape") and hasattr(node, "dtype"):
        return f"an array of shape {node.shape}"
    kind = type(node).__name__
    if isinstance(node, dict):
        return f"{kind} with keys {sorted(map(str, node))}"
    if isinstance(node, tuple | list):
        return f"{kind} of length {len(node)}"
    return kind
