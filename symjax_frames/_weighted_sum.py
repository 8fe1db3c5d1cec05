"""The weighted sum behind every transform: pull the arguments, apply, push the outputs, average."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from symjax_frames._checks import check_positive
from symjax_frames._stateful import call_stateless
from symjax_frames._trees import argument_actions, check_actions, is_object, map_actions
from symjax_frames._types import Action, Frame


def make_average(
    fn: Callable[..., PyTree[Array]],
    in_actions: PyTree,
    out_actions: PyTree,
    batch_size: int | None,
    spmd_axis_name: str | None,
) -> Callable[[Frame, tuple, dict], PyTree[Array]]:
    """The function of `(frame, args, kwargs)` that averages `fn` over the elements of `frame`.

    Args:
      fn: as in `frame_average`.
      in_actions: a pytree prefix of the arguments.
      out_actions: a pytree prefix of the outputs.
      batch_size: the number of elements evaluated at a time.
      spmd_axis_name: the mesh axis that the elements are sharded over.

    Raises:
      ValueError: as `frame_average`.
    """
    in_actions = argument_actions(in_actions)
    check_actions(out_actions, "out_actions")
    if batch_size is not None:
        check_positive("batch_size", batch_size)
        if spmd_axis_name is not None:
            raise ValueError(
                f"batch_size={batch_size} evaluates elements one batch after the other and "
                f"spmd_axis_name={spmd_axis_name!r} all at once; give one of them"
            )

    def average(frame: Frame, args: tuple, kwargs: dict) -> PyTree[Array]:
        _check_frame(frame)

        def pull(g: Any, action: Action | None, leaf: Any, name: str) -> Any:
            return leaf if action is None else apply_action(action.pull, g, leaf, name)

        def push(g: Any, action: Action | None, leaf: Any, name: str) -> Any:
            _check_averageable(leaf, name)
            return leaf if action is None else apply_action(action.push, g, leaf, name)

        def term(g: Any) -> PyTree[Array]:
            pulled = map_actions(
                lambda action, leaf, name: pull(g, action, leaf, name),
                in_actions,
                args,
                "argument",
                # What a function changes in a copy of a module would be lost unseen.
                is_unmoved=is_object,
            )
            return map_actions(
                lambda action, leaf, name: push(g, action, leaf, name),
                out_actions,
                call_stateless(fn, pulled, kwargs),
                "output",
            )

        if batch_size is None:
            terms = jax.vmap(term, spmd_axis_name=spmd_axis_name)(frame.elements)
        else:
            terms = jax.lax.map(term, frame.elements, batch_size=batch_size)
        return map_actions(
            lambda action, leaf, name: _weighted_sum(action, frame.weights, leaf, name),
            out_actions,
            terms,
            "output",
        )

    return average


def _check_frame(frame: Any) -> None:
    if not isinstance(frame, Frame):
        raise ValueError(f"the frame function must return a Frame, got {type(frame).__name__}")
    sizes = {leaf.shape[:1] for leaf in jax.tree.leaves(frame)}
    if len(sizes) != 1 or sizes == {()}:
        shapes = [leaf.shape for leaf in jax.tree.leaves(frame)]
        raise ValueError(
            f"the elements and weights of a Frame must share a leading frame axis, got {shapes}"
        )


def _weighted_sum(action: Action | None, weights: Array, terms: Array, name: str) -> Array:
    scale = Action.scale if action is None else action.scale
    if weights.ndim > 1 and scale is Action.scale:
        raise ValueError(
            f"{name}: the frame has weights of shape {weights.shape}, one set a graph, so this output "
            "needs a packed action; packed(None, segment_ids) for an invariant one"
        )
    # The sum is taken in the wider dtype on purpose, and cast back: strict promotion would refuse.
    with jax.numpy_dtype_promotion("standard"):
        wide = jnp.promote_types(weights.dtype, terms.dtype)
    scaled = jax.vmap(scale)(weights.astype(wide), terms.astype(wide))
    return jnp.sum(scaled, axis=0).astype(terms.dtype)


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
        raise ValueError(f"{name} must be a floating array to be averaged, got {kind}")
