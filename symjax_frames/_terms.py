"""One term of an average: pull the arguments, apply the function, push the outputs."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from symjax_frames._checks import holds
from symjax_frames._stateful import call_stateless
from symjax_frames._trees import is_object, map_actions
from symjax_frames._types import Action

Term = Callable[[Any, tuple, dict, dict[str, Any]], tuple[PyTree[Array], PyTree]]


def make_term(
    fn: Callable[..., PyTree[Array]], in_actions: PyTree, out_actions: PyTree, has_aux: bool
) -> Term:
    """The term of one group element, before it is weighted.

    Args:
      fn: as in `frame_average`.
      in_actions: a checked pytree prefix of the tuple of arguments.
      out_actions: a checked pytree prefix of the outputs.
      has_aux: whether `fn` returns `(outputs, aux)`.

    Returns:
      A function of the element, the arguments, the keyword arguments and a dictionary, which returns
      the outputs and `aux`, or `None` without one. The outputs are in the dtype of the element if
      that holds theirs, so that their sum is rounded once; the dictionary is filled with their own,
      by the name of each.
    """

    def term(
        element: Any, args: tuple, kwargs: dict, dtypes: dict[str, Any]
    ) -> tuple[PyTree[Array], PyTree]:
        def pull(action: Action | None, leaf: Any, name: str) -> Any:
            return leaf if action is None else apply_action(action.pull, element, leaf, name)

        def push(action: Action | None, leaf: Any, name: str) -> Any:
            _check_averageable(leaf, name)
            dtypes[name] = leaf.dtype
            if action is None:
                return leaf
            return apply_action(action.push, element, _widened(leaf, element), name)

        # What a function changes in a copy of a module would be lost unseen.
        pulled = map_actions(pull, in_actions, args, "argument", is_unmoved=is_object)
        outputs, aux = _parts(call_stateless(fn, pulled, kwargs), has_aux)
        return map_actions(push, out_actions, outputs, "output"), aux

    return term


def _parts(result: Any, has_aux: bool) -> tuple[PyTree[Array], PyTree]:
    """The outputs that are averaged, and what is handed through beside them."""
    if not has_aux:
        return result, None
    if not isinstance(result, tuple) or len(result) != 2:
        got = type(result).__name__
        got += f" of length {len(result)}" if isinstance(result, tuple) else ""
        raise ValueError(
            f"with has_aux=True the function must return a pair (outputs, aux), got {got}"
        )
    return result


def _widened(leaf: Array, g: Any) -> Array:
    """The output in the dtype of the group element, if that holds every value of its own."""
    dtype = jax.tree.leaves(g)[0].dtype
    return leaf.astype(dtype) if holds(dtype, leaf.dtype) else leaf


def apply_action(move: Callable, g: Any, leaf: Any, name: str) -> Any:
    """Moves a leaf, with an error that names the leaf if that is impossible."""
    if not isinstance(leaf, jax.Array | np.ndarray):
        raise ValueError(
            f"{name} has an action but is no floating array, got {type(leaf).__name__}; convert it, "
            "or give it the action None"
        )
    try:
        return move(g, jnp.asarray(leaf))
    except ValueError as error:
        # Labels and masks may move, if their action says so: only it knows what is wrong.
        what = ""
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            what = f" has an action but is no floating array, got {leaf.dtype} array"
        raise ValueError(f"{name}{what}: {error}") from error


def _check_averageable(leaf: Any, name: str) -> None:
    if not hasattr(leaf, "dtype") or not jnp.issubdtype(leaf.dtype, jnp.inexact):
        kind = f"{leaf.dtype} array" if hasattr(leaf, "dtype") else type(leaf).__name__
        raise ValueError(
            f"{name} must be a floating array to be averaged, got {kind}; with has_aux=True the "
            "function may return a second value, which is not averaged"
        )
