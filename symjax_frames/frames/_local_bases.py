"""Bases of the nodes of a graph: the neighbours gathered into slots, and the arms to them."""

from typing import Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from symjax_frames._checks import check_cloud, check_positive, concrete, describe
from symjax_frames._matrices import at_least_float32
from symjax_frames.frames._gram_schmidt import Bases, make_bases
from symjax_frames.frames._moments import rounding_floor
from symjax_frames.frames._ranks import Ranking
from symjax_frames.frames._robust_options import Closure, check_options
from symjax_frames.frames._slots import check_entries, most_common
from symjax_frames.frames._smooth import smooth_maximum, smooth_step, squared_lengths
from symjax_frames.linalg import power_of_two

LocalGroup = Literal["E", "SE"]

_NEAR = 1e-3
"""Squared length of the longest damped arm, in cutoffs, below which signs become ambiguous."""


def local_bases(
    points: Array,
    senders: Array,
    receivers: Array,
    cutoff: float,
    mask: Array | None,
    group: LocalGroup = "E",
    max_neighbours: int | None = None,
    capacity: tuple[int, ...] | None = None,
    max_elements: int | None = None,
    threshold: float = 0.9,
    closure: Closure = "signs",
) -> tuple[Bases, Int[Array, " nodes"]]:
    """The bases of every node, and the number of its neighbours within the cutoff."""
    check_cloud(points, None)
    if points.shape[1] not in (2, 3):
        raise ValueError(
            f"points must be nodes in 2 or 3 dimensions, one a row, got shape {points.shape}"
        )
    _check_edges(senders, receivers, mask)
    if isinstance(cutoff, bool) or not isinstance(cutoff, int | float) or not 0 < cutoff < np.inf:
        raise ValueError(f"cutoff must be a positive finite number, got {cutoff!r}")
    if group not in get_args(LocalGroup):
        raise ValueError(f"group must be one of {', '.join(get_args(LocalGroup))}, got {group!r}")
    slots = _number_of_slots(senders, receivers, mask, len(points), max_neighbours)
    dim = points.shape[1]
    options = check_options(slots, dim, group, capacity, max_elements, threshold, closure)

    given = points.dtype
    points = at_least_float32(jnp.asarray(points))
    limits = jnp.finfo(points.dtype)
    length = jnp.asarray(np.clip(cutoff, limits.tiny, limits.max), points.dtype)
    scale = power_of_two(length)
    reach = length / scale
    table, num_neighbours = _neighbours(points, senders, receivers, mask, scale, reach, slots)

    def bases_of(node: Int[Array, ""], neighbours: Int[Array, " neighbours"]) -> Bases:
        origin = points[node]
        arms = _damped(points[neighbours] - origin[None], neighbours != node, scale, reach)
        far = jax.lax.stop_gradient(jnp.max(jnp.abs(origin))) / scale
        floor = rounding_floor(given, points.dtype, far)
        longest = smooth_maximum(squared_lengths(arms.T), 1 - threshold)
        return make_bases(
            arms,
            Ranking(None, 1 - threshold, 0),
            ambiguity=1 - smooth_step(longest / (_NEAR * reach * reach)),
            floor=floor,
            closure=options.closure,
            capacity=options.capacity,
            max_elements=options.max_elements,
        )

    return jax.vmap(bases_of)(jnp.arange(len(points), dtype=jnp.int32), table), num_neighbours


def _damped(
    arms: Float[Array, "arms dim"],
    real: Bool[Array, " arms"],
    scale: Float[Array, ""],
    reach: Float[Array, ""],
) -> Float[Array, "arms dim"]:
    """Arms over `scale`, damped to zero at the cutoff `reach`."""
    inside = real & (jnp.max(jnp.abs(arms), axis=1) < scale * reach)
    arms = jnp.where(inside[:, None], arms, 0) / scale
    # Squared lengths, which make the weights, get the fourth power: three derivatives vanish.
    damping = jnp.maximum(1 - squared_lengths(arms.T / reach), 0) ** 2
    return damping[:, None] * arms


def _neighbours(
    points: Array,
    senders: Array,
    receivers: Array,
    mask: Array | None,
    scale: Array,
    reach: Array,
    slots: int,
) -> tuple[Int[Array, "nodes neighbours"], Int[Array, " nodes"]]:
    """The senders to each node, the longest damped arm first, and their number.

    Slots that are left over hold the node itself.
    """
    count = len(points)
    senders, receivers = jnp.asarray(senders, jnp.int32), jnp.asarray(receivers, jnp.int32)
    real = senders != receivers
    real = real if mask is None else real & mask
    points = jax.lax.stop_gradient(points)
    rank = squared_lengths(_damped(points[senders] - points[receivers], real, scale, reach).T)
    receivers = jnp.where(real, receivers, count)
    within = (rank > 0).astype(jnp.int32)
    num_neighbours = jax.ops.segment_sum(within, receivers, count)
    order = jnp.lexsort((-rank, receivers))
    receivers, senders = receivers[order], senders[order]
    slot = jnp.arange(len(order), dtype=jnp.int32) - jnp.searchsorted(receivers, receivers)
    table = jnp.broadcast_to(jnp.arange(count, dtype=jnp.int32)[:, None], (count, slots))
    return table.at[receivers, slot].set(senders, mode="drop"), num_neighbours


def _number_of_slots(
    senders: Array, receivers: Array, mask: Array | None, count: int, given: int | None
) -> int:
    """How many neighbours of a node are looked at; by default as many as one can have."""
    edges = max(len(senders), 1)
    if given is not None:
        return min(edges, check_positive("max_neighbours", given))
    starts, ends = concrete(senders), concrete(receivers)
    kept = np.True_ if mask is None else concrete(mask)
    if starts is None or ends is None or kept is None:
        slots = edges
    else:
        slots = max(most_common(ends[kept & (starts != ends)]), 1)
    remedy = "local_diagnostics with max_neighbours=1 tells how many neighbours each node has"
    check_entries("max_neighbours", count, slots, remedy)
    return slots


def _check_edges(senders: Array, receivers: Array, mask: Array | None) -> None:
    for name, value in (("senders", senders), ("receivers", receivers)):
        if getattr(value, "ndim", None) != 1 or not jnp.issubdtype(value.dtype, jnp.integer):
            raise ValueError(
                f"{name} must be a vector of integers, one for each edge, got {describe(value)}"
            )
    if senders.shape != receivers.shape:
        raise ValueError(
            f"senders and receivers must have one entry for each edge, got shapes {senders.shape} "
            f"and {receivers.shape}"
        )
    if mask is None:
        return
    if not hasattr(mask, "shape") or mask.shape != senders.shape or mask.dtype != bool:
        raise ValueError(
            f"mask must be boolean of shape {senders.shape}, one entry for each edge, got "
            f"{describe(mask)}"
        )
