"""Frames of the graphs of a packed batch, from any frame of a cloud."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree, Real

from symjax_frames._checks import check_callable, check_positive, concrete, describe, is_integer
from symjax_frames._padding import warn_of_strays
from symjax_frames._sharding import on_own_mesh
from symjax_frames._types import Frame
from symjax_frames.frames._bound import without
from symjax_frames.frames._checks import check_packed
from symjax_frames.frames._overflow import known_value, warn_of_many
from symjax_frames.frames._robust import robust_bases, robust_frame
from symjax_frames.frames._robust_options import RobustOptions, check_options
from symjax_frames.frames._slots import check_entries


@on_own_mesh
def packed_frame(
    frame: Callable[..., Frame],
    points: Float[Array, "nodes dim"],
    segment_ids: Int[Array, " nodes"],
    num_segments: int,
    mask: Bool[Array, " nodes"] | None = None,
    *,
    max_points: int | None = None,
    **rows: PyTree[Array],
) -> Frame:
    """The frame of each graph of a packed batch, for any frame that takes a mask.

    The nodes of each graph are gathered into a padded cloud, in their order, and `frame` is vmapped
    over the clouds and their masks. So the frame of a graph is that of its cloud alone.

    Example:
      >>> import functools, jax, jax.numpy as jnp, symjax_frames as sf
      >>> canonical = functools.partial(sf.canonical_frame, group="SE", sharpness=3.0)
      >>> nodes, segment_ids = jax.random.normal(jax.random.key(0), (7, 3)), jnp.arange(7) // 4
      >>> pack = lambda x: sf.frames.packed_frame(canonical, x, segment_ids, 2)
      >>> frame = jax.eval_shape(pack, nodes)
      >>> frame.elements.linear.shape, frame.weights.shape
      ((4, 2, 3, 3), (4, 2))

    Args:
      frame: called with a cloud and its mask, as `pca_frame`, `canonical_frame`, `robust_frame` and
        their closures are; bind options with `functools.partial`.
      points: the nodes of all graphs, one per row.
      segment_ids: as in `packed_pca_frame`.
      num_segments: the number of graphs, static; graphs without nodes get the frame of a cloud that
        is all padding.
      mask: `True` for real nodes.
      max_points: the number of points of each padded cloud, static. By default that of the largest
        graph where values are known; where `segment_ids` are traced by `jax.jit`, that of all nodes,
        which is always enough.
      **rows: arguments of `frame` with an entry for each node, such as `attributes`, which are
        gathered like the points.

    Returns:
      A frame whose elements carry `(frame, graphs, ...)` axes and whose weights are
      `(frame, graphs)`. The weights of a graph of more than `max_points` nodes are NaN, if it is
      only known within `jax.jit`.

    Raises:
      ValueError: if points, segments and mask are not what `packed_pca_frame` asks for, `max_points`
        is no positive integer or, where values are known, less than the nodes of the largest graph;
        if it must be given, since the default takes too much memory; if one of `rows` has not one
        entry for each node; and as `frame`.
    """
    check_callable("frame", frame)
    num_segments = check_packed(points, segment_ids, num_segments, mask)
    warn_of_strays(points, segment_ids, num_segments, mask)
    count = points.shape[0]
    for name, value in rows.items():
        for leaf in jax.tree.leaves(value):
            if getattr(leaf, "shape", ())[:1] != points.shape[:1]:
                raise ValueError(
                    f"{name} must have {count} rows, one for each node, got {describe(leaf)}"
                )
    members = _members(segment_ids, num_segments, mask, max_points)
    clouds, rows = jax.tree.map(lambda leaf: jnp.asarray(leaf)[members.nodes], (points, rows))
    result = jax.vmap(frame, out_axes=1)(clouds, members.mask, **rows)
    if not isinstance(result, Frame):
        raise ValueError(f"the frame function must return a Frame, got {type(result).__name__}")
    return result._replace(weights=jnp.where(members.fits[None], result.weights, jnp.nan))


@on_own_mesh
def packed_robust_frame(
    points: Float[Array, "nodes dim"],
    segment_ids: Int[Array, " nodes"],
    num_segments: int,
    mask: Bool[Array, " nodes"] | None = None,
    *,
    max_points: int | None = None,
    attributes: Real[Array, " nodes"] | None = None,
    **options: Any,
) -> Frame:
    """The `robust_frame` of each graph of a packed batch.

    Example:
      >>> import jax, jax.numpy as jnp, symjax_frames as sf
      >>> nodes, segment_ids = jax.random.normal(jax.random.key(0), (7, 2)), jnp.arange(7) // 4
      >>> def totals(nodes):
      ...     return jax.ops.segment_sum(jnp.tanh(1 + nodes).sum(axis=1), segment_ids, 2)
      >>> totals = sf.frame_average(
      ...     totals,
      ...     lambda nodes: sf.packed_robust_frame(nodes, segment_ids, 2, max_elements=8),
      ...     in_actions=sf.packed(sf.points, segment_ids),
      ...     out_actions=sf.packed(None, jnp.arange(2)),
      ... )
      >>> jax.jit(totals)(nodes).shape
      (2,)

    Args:
      points: as in `packed_frame`.
      segment_ids: as in `packed_frame`.
      num_segments: as in `packed_frame`.
      mask: as in `packed_frame`.
      max_points: as in `packed_frame`.
      attributes: as in `robust_frame`, a number for each node.
      **options: the other options of `robust_frame`; `capacity` and `max_elements` are those of each
        graph.

    Returns:
      As `packed_frame`.

    Raises:
      ValueError: as `packed_frame` and `robust_frame`.

    Note:
      Within `jax.jit`, what does not fit into a graph's `max_elements` is told by
      `on_overflow="nan"`, for each graph, and by `frame_diagnostics` of its nodes,
      with `frame` the `robust_frame` of the same options:
      `jax.vmap(lambda graph: frame_diagnostics(frame, points, segment_ids == graph))` of
      `jnp.arange(num_segments)`.
    """
    frame = functools.partial(robust_frame, **options)
    pack = functools.partial(packed_frame, max_points=max_points, attributes=attributes)
    graphs = points, segment_ids, num_segments, mask
    packed = pack(frame, *graphs)
    if options.get("on_overflow", "drop") == "drop" and known_value(points) is not None:
        # The vmap over the clouds traces each frame, which so could not warn of itself.
        needed, dropped = pack(functools.partial(_shortages, options), *graphs).elements

        def room() -> RobustOptions:
            count, dim = points.shape
            kept = options.get("capacity"), options.get("max_elements")
            return check_options(count, dim, options.get("group", "E"), *kept, 0.9, "signs")

        advice = "frame_capacity finds what clouds need"
        warn_of_many("packed_robust_frame", "graph", needed[0], dropped[0], room, advice)
    return packed


def _shortages(
    options: dict[str, Any], points: Array, mask: Array, attributes: Array | None
) -> Frame:
    """What a robust frame needs and has dropped, as the one element of a frame."""
    needs = without(options, "detach", "on_overflow")
    bases, _ = robust_bases(points, mask, attributes=attributes, **needs)
    one = jnp.ones(1, points.dtype)
    return Frame((bases.needed[None], bases.dropped[None]), one)


class _Members(NamedTuple):
    """The nodes of each graph, in their order.

    Attributes:
      nodes: their indices.
      mask: `False` for what is left over of the table.
      fits: whether all nodes of a graph are in it.
    """

    nodes: Int[Array, "graphs points"]
    mask: Bool[Array, "graphs points"]
    fits: Bool[Array, " graphs"]


def _members(
    segment_ids: Array, num_segments: int, mask: Array | None, max_points: int | None
) -> _Members:
    if max_points is not None:
        max_points = check_positive("max_points", max_points)
    ids: Any = concrete(segment_ids)
    kept: Any = np.True_ if mask is None else concrete(mask)
    known = ids is not None and kept is not None and is_integer(num_segments)
    # Where values are known, NumPy sorts them: XLA is far slower at sorting a constant.
    xp = np if known else jnp
    if not known:
        ids, kept = segment_ids, np.True_ if mask is None else mask
    if ids.dtype.itemsize < 4:
        ids = ids.astype(np.int32)  # which holds the number of graphs too
    inside = (ids >= 0) & (ids < num_segments) & kept
    graphs = xp.where(inside, ids, num_segments).astype(np.int32)
    order = xp.argsort(graphs, stable=True)
    if known:
        counts: Any = np.bincount(graphs, minlength=num_segments + 1)[:-1]
    else:
        counts = jax.ops.segment_sum(inside.astype(np.int32), graphs, num_segments)
    most = max(int(counts.max()), 1) if known else graphs.shape[0]
    if max_points is None:
        max_points = most
        remedy = "it is to be the number of nodes of the largest graph"
        check_entries("max_points", num_segments, max_points, remedy)
    elif known and most > max_points:
        raise ValueError(
            f"max_points must be at least {most}, the number of nodes of the largest graph, got "
            f"{max_points}"
        )
    place = xp.arange(max_points, dtype=counts.dtype)[None]
    rows = xp.minimum((xp.cumsum(counts) - counts)[:, None] + place, graphs.shape[0] - 1)
    found = (order[rows], place < counts[:, None], counts <= max_points)
    return _Members(*map(jnp.asarray, found))
