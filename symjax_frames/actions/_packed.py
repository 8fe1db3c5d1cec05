"""Actions on a packed batch: data of many graphs concatenated, each moved by its own element."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from symjax_frames._checks import check_segments, describe
from symjax_frames._sharding import take
from symjax_frames._types import Action


def packed(action: Action | None, segment_ids: Int[Array, " nodes"]) -> Action:
    r"""Action of one element per graph on data concatenated over the graphs.

    Formula: $(\rho(g)\, x)_n = \rho(g_{s(n)})\, x_n$ with $s$ the `segment_ids`. The same holds for
    the weights of a packed frame, so that every graph is averaged with its own.

    Args:
      action: how an element of one graph moves one row of the data; `None` for invariant rows.
      segment_ids: the graph of each row: of each node for data of nodes, of each edge for data of
        edges, `jnp.arange(num_segments)` for one row per graph.

    Returns:
      The action on data with a leading axis of `len(segment_ids)` rows, for elements and weights
      with a leading `graphs` axis, as `packed_pca_frame` makes them. A row whose entry is negative
      or beyond the graphs is padding: an average makes it zero.

    Raises:
      ValueError: if `segment_ids` is not a vector of integers; when the action is used, if the data
        have another number of rows, or more than one value of `segment_ids` names no graph (one is
        padding). The values are not known, and not checked, if they are traced by `jax.jit`.
    """
    if getattr(segment_ids, "ndim", None) != 1 or not jnp.issubdtype(
        segment_ids.dtype, jnp.integer
    ):
        raise ValueError(
            f"segment_ids must be a vector of integers, one for each row, got {describe(segment_ids)}"
        )
    if action is not None and not isinstance(action, Action):
        raise ValueError(f"action must be an Action or None (invariant), got {action!r}")

    def check(x: Array) -> None:
        if x.ndim == 0 or x.shape[0] != segment_ids.shape[0]:
            raise ValueError(
                f"packed data must have {segment_ids.shape[0]} rows, one for each of segment_ids, "
                f"got shape {x.shape}"
            )

    def move(act: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        def moved(g: Any, x: Array) -> Array:
            """Moves every row of packed data by the element of its graph."""
            check(x)
            leaf, *_ = jax.tree.leaves(g)
            if leaf.ndim < 3:
                raise ValueError("packed data need a packed frame, with elements for every graph")
            check_segments("segment_ids", segment_ids, leaf.shape[0])
            rows = jax.tree.map(lambda leaf: take(leaf, segment_ids), g)
            return jax.vmap(act)(rows, x)

        return moved

    def scale(weights: Array, x: Array) -> Array:
        check(x)
        if weights.ndim != 1:
            raise ValueError("packed data need a packed frame, with weights for every graph")
        check_segments("segment_ids", segment_ids, weights.shape[0])
        inside = (segment_ids >= 0) & (segment_ids < weights.shape[0])
        rows = jnp.where(inside, take(weights, segment_ids), 0).reshape((-1,) + (1,) * (x.ndim - 1))
        return jnp.broadcast_to(rows, x.shape) * x

    if action is None:
        return Action(lambda g, x: x, lambda g, x: x, scale, "packed(None)")
    inner = action.name or repr(action)
    return Action(move(action.push), move(action.pull), scale, f"packed({inner})")
