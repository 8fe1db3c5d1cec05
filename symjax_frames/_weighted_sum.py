"""The weighted sum of terms behind every transform."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType
from jaxtyping import Array, PyTree

from symjax_frames._checks import check_positive, concrete
from symjax_frames._shares import first_rows, mesh_with, shared_frame
from symjax_frames._terms import make_term
from symjax_frames._trees import argument_actions, check_actions, map_actions
from symjax_frames._types import Action, Frame

_TOLERANCE = 1e-3
"""How far the weights of a frame may be from summing to one; those of 16 bits a little further."""


def make_average(
    fn: Callable[..., PyTree[Array]],
    in_actions: PyTree,
    out_actions: PyTree,
    batch_size: int | None,
    spmd_axis_name: str | None,
    has_aux: bool,
    with_variance: bool = False,
) -> Callable[[Frame, tuple, dict], PyTree[Array]]:
    """The function of `(frame, args, kwargs)` that averages `fn` over the elements of `frame`.

    Args:
      fn: as in `frame_average`.
      in_actions: a pytree prefix of the arguments.
      out_actions: a pytree prefix of the outputs.
      batch_size: the number of elements evaluated at a time.
      spmd_axis_name: the mesh axis that the elements are sharded over.
      has_aux: whether `fn` returns `(outputs, aux)`.
      with_variance: whether the pair of the average and the variance takes the place of the first.

    Raises:
      ValueError: as `frame_average`.
    """
    in_actions = argument_actions(in_actions)
    check_actions(out_actions, "out_actions")
    if spmd_axis_name is not None and not isinstance(spmd_axis_name, str):
        raise ValueError(f"spmd_axis_name must be the name of an axis, got {spmd_axis_name!r}")
    if batch_size is not None:
        batch_size = check_positive("batch_size", batch_size)
        if spmd_axis_name is not None:
            raise ValueError(
                f"batch_size={batch_size} evaluates elements one batch after the other and "
                f"spmd_axis_name={spmd_axis_name!r} all at once; give one of them"
            )

    term = make_term(fn, in_actions, out_actions, has_aux)

    def average(frame: Frame, args: tuple, kwargs: dict) -> PyTree[Array]:
        check_frame(frame)
        count, mapped_axis = len(frame.weights), None
        if spmd_axis_name is not None:
            mesh = mesh_with(spmd_axis_name, (frame, args, kwargs))
            frame = shared_frame(frame, spmd_axis_name, mesh)
            # Within a shard_map, jax.vmap takes the name for an axis of that.
            mapped_axis = None if AxisType.Manual in mesh.axis_types else spmd_axis_name

        dtypes: dict[str, Any] = {}

        def of_element(element: Any) -> tuple[PyTree[Array], PyTree]:
            return term(element, args, kwargs, dtypes)

        if batch_size is None:
            terms, aux = jax.vmap(of_element, spmd_axis_name=mapped_axis)(frame.elements)
        else:
            terms, aux = jax.lax.map(of_element, frame.elements, batch_size=batch_size)

        def mean(action: Action | None, leaf: Array, name: str) -> Array:
            return _weighted_sum(action, frame.weights, leaf, name).astype(dtypes[name])

        def variance(action: Action | None, leaf: Array, name: str) -> Array:
            spread = _weighted_variance(action, frame.weights, leaf, name)
            return spread.astype(jnp.finfo(dtypes[name]).dtype)

        averaged = map_actions(mean, out_actions, terms, "output")
        if with_variance:
            averaged = averaged, map_actions(variance, out_actions, terms, "output")
        if len(frame.weights) > count:
            aux = first_rows(aux, count)
        return (averaged, aux) if has_aux else averaged

    return average


def check_frame(frame: Any) -> None:
    """Raises unless it is a frame, of one number of elements, whose weights sum to one if known."""
    if not isinstance(frame, Frame):
        raise ValueError(f"the frame function must return a Frame, got {type(frame).__name__}")
    sizes = {leaf.shape[:1] for leaf in jax.tree.leaves(frame)}
    if len(sizes) != 1 or sizes == {()}:
        shapes = [leaf.shape for leaf in jax.tree.leaves(frame)]
        raise ValueError(
            f"the elements and weights of a Frame must share a leading frame axis, got {shapes}"
        )
    check_weights(frame.weights)


def check_weights(weights: Array, *, drawn: bool = False, batched: bool = False) -> None:
    """Raises if the values of the weights are known and do not sum to one over the elements.

    Args:
      weights: those of a frame.
      drawn: whether elements are drawn with them, for which none may be negative.
      batched: whether they are those of a frame for each example, along the first axis.
    """
    values = concrete(weights)
    if values is None or not jnp.issubdtype(values.dtype, jnp.floating):
        return
    totals = np.sum(values.astype(float), axis=int(batched))
    # Graphs that are padding may have no weight. What is not finite is handed on, as everywhere.
    wrong = np.abs(totals - 1) > _TOLERANCE + 8 * float(jnp.finfo(values.dtype).eps)
    wrong &= (totals != 0) | (values.ndim == 1 + batched)
    if wrong.any():
        raise ValueError(
            f"the weights of a Frame must sum to 1 over its elements, got {totals[wrong].flat[0]:.6g}"
        )
    if drawn and values.min() < 0:
        raise ValueError(
            f"elements are drawn with the weights of their frame, which must not be negative, got "
            f"{values.min():.6g}"
        )


def _weighted_sum(action: Action | None, weights: Array, terms: Array, name: str) -> Array:
    return jnp.sum(scaled(action, weights, terms, name), axis=0)


def _weighted_variance(action: Action | None, weights: Array, terms: Array, name: str) -> Array:
    """The weighted sum of the squared distances from the mean: nothing cancels in it."""
    mean = _weighted_sum(action, weights, terms, name)
    away = terms.astype(mean.dtype) - mean[None]
    # Weighted before it is squared: what has no weight may be too large for that.
    return jnp.sum(jnp.real(scaled(action, weights, away, name) * jnp.conj(away)), axis=0)


def scaled(action: Action | None, weights: Array, terms: Array, name: str) -> Array:
    """Terms, one a row, times their weights, in the wider dtype of both.

    Raises:
      ValueError: if each graph has weights of its own, and the action does not say which.
    """
    scale = Action.scale if action is None else action.scale
    if weights.ndim > 1 and scale is Action.scale:
        raise ValueError(
            f"{name}: the frame has weights of shape {weights.shape}, one set a graph, so this output "
            "needs a packed action; packed(None, segment_ids) for an invariant one"
        )
    # The sum is taken in the wider dtype on purpose, and cast back: strict promotion would refuse.
    with jax.numpy_dtype_promotion("standard"):
        wide = jnp.promote_types(weights.dtype, terms.dtype)
    return jax.vmap(scale)(weights.astype(wide), terms.astype(wide))
