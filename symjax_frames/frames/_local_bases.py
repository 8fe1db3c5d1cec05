"""Bases of the nodes of a graph: the neighbours gathered into slots, and the arms to them."""

from typing import Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from symjax_frames._checks import check_positive, concrete, describe, is_integer
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
    vectors: Array,
    receivers: Array | np.ndarray,
    num_nodes: int,
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
    num_nodes = _check_edges(vectors, receivers, num_nodes, mask)
    if isinstance(cutoff, bool) or not isinstance(cutoff, int | float) or not 0 < cutoff < np.inf:
        raise ValueError(f"cutoff must be a positive finite number, got {cutoff!r}")
    if group not in get_args(LocalGroup):
        raise ValueError(f"group must be one of {', '.join(get_args(LocalGroup))}, got {group!r}")
    slots = _number_of_slots(vectors, receivers, mask, num_nodes, max_neighbours)
    dim = vectors.shape[1]
    options = check_options(slots, dim, group, capacity, max_elements, threshold, closure)

    given = vectors.dtype
    vectors = at_least_float32(jnp.asarray(vectors))
    limits = jnp.finfo(vectors.dtype)
    length = jnp.asarray(np.clip(cutoff, limits.tiny, limits.max), vectors.dtype)
    scale = power_of_two(length)
    reach = length / scale
    # Vectors are differences of positions, which are taken to be about as large as the cutoff.
    floor = rounding_floor(given, vectors.dtype, reach)
    arms = _damped(vectors, mask, scale, reach)
    rank = squared_lengths(jax.lax.stop_gradient(arms).T)
    arms = _of_nodes(arms, rank, receivers, num_nodes, slots)
    if not is_integer(slots):
        # A number that `jax.export` keeps open: padding makes it at least that of the choices.
        arms = jnp.pad(arms, ((0, 0), (0, max(options.capacity)), (0, 0)))
    num_neighbours = jax.ops.segment_sum((rank > 0).astype(jnp.int32), receivers, num_nodes)

    def bases_of(arms: Float[Array, "neighbours dim"]) -> Bases:
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

    return jax.vmap(bases_of)(arms), num_neighbours


def _damped(
    vectors: Float[Array, "edges dim"],
    mask: Bool[Array, " edges"] | None,
    scale: Float[Array, ""],
    reach: Float[Array, ""],
) -> Float[Array, "edges dim"]:
    """Edge vectors over `scale`, damped to zero at the cutoff `reach`."""
    inside = jnp.max(jnp.abs(vectors), axis=1) < scale * reach
    inside = inside if mask is None else inside & mask
    arms = jnp.where(inside[:, None], vectors, 0) / scale
    # Squared lengths, which make the weights, get the fourth power: three derivatives vanish.
    damping = jnp.maximum(1 - squared_lengths(arms.T / reach), 0) ** 2
    return damping[:, None] * arms


def _of_nodes(
    arms: Float[Array, "edges dim"],
    rank: Float[Array, " edges"],
    receivers: Int[Array | np.ndarray, " edges"],
    num_nodes: int,
    slots: int,
) -> Float[Array, "nodes slots dim"]:
    """The arms that end at each node, the longest first; zero in slots that are left over.

    Where the edges are known to be rows of `slots` for one node after the other, as those of a single
    node are, they stay as they are.
    """
    if num_nodes == 1 and slots == arms.shape[0]:
        return jnp.where((receivers == 0)[:, None], arms, 0)[None]
    ends = concrete(receivers)
    if ends is not None and np.array_equal(ends, np.repeat(np.arange(num_nodes), slots)):
        return arms.reshape(num_nodes, slots, -1)
    receivers = jnp.where(rank > 0, jnp.asarray(receivers, jnp.int32), num_nodes)
    order = jnp.lexsort((-rank, receivers))
    receivers = receivers[order]
    slot = jnp.arange(len(order), dtype=jnp.int32) - jnp.searchsorted(receivers, receivers)
    table = jnp.full((num_nodes, slots), len(arms), jnp.int32)
    table = table.at[receivers, slot].set(order.astype(jnp.int32), mode="drop")
    return arms.at[table].get(mode="fill", fill_value=0)


def _number_of_slots(
    vectors: Array,
    receivers: Array | np.ndarray,
    mask: Array | None,
    num_nodes: int,
    given: int | None,
) -> int:
    """How many neighbours of a node are looked at; by default as many as one can have."""
    edges = receivers.shape[0]
    edges = max(edges, 1) if is_integer(edges) else edges
    if given is not None:
        return min(edges, check_positive("max_neighbours", given))
    ends, kept = concrete(receivers), np.True_ if mask is None else concrete(mask)
    if ends is None or kept is None:
        slots = edges
    else:
        # An edge of a node to itself, that is to none of its images, is no neighbour.
        arrows = concrete(vectors)
        seen = kept if arrows is None else kept & np.any(arrows != 0, axis=1)
        slots = max(most_common(ends[np.broadcast_to(seen, ends.shape)]), 1)
    remedy = "local_diagnostics with max_neighbours=1 tells how many neighbours each node has"
    check_entries("max_neighbours", num_nodes, slots, remedy)
    return slots


def _check_edges(
    vectors: Array, receivers: Array | np.ndarray, num_nodes: int, mask: Array | None
) -> int:
    """The number of nodes, once all are what they should be."""
    shape = getattr(vectors, "shape", None)
    if shape is None or len(shape) != 2 or shape[1] not in (2, 3):
        raise ValueError(
            f"vectors must be those of the edges in 2 or 3 dimensions, one a row, got "
            f"{describe(vectors)}"
        )
    if not jnp.issubdtype(vectors.dtype, jnp.floating):
        raise ValueError(f"vectors must be of a floating dtype, got {vectors.dtype}")
    if getattr(receivers, "ndim", None) != 1 or not jnp.issubdtype(receivers.dtype, jnp.integer):
        raise ValueError(
            f"receivers must be a vector of integers, one for each edge, got {describe(receivers)}"
        )
    if receivers.shape[0] != shape[0]:
        raise ValueError(
            f"vectors and receivers must have one entry for each edge, got shapes {shape} and "
            f"{receivers.shape}"
        )
    if hasattr(num_nodes, "shape") and num_nodes.shape:
        raise ValueError(f"num_nodes must be a positive integer, got {describe(num_nodes)}")
    num_nodes = check_positive("num_nodes", num_nodes)
    if mask is None:
        return num_nodes
    if not hasattr(mask, "shape") or mask.shape != receivers.shape or mask.dtype != bool:
        raise ValueError(
            f"mask must be boolean of shape {receivers.shape}, one entry for each edge, got "
            f"{describe(mask)}"
        )
    return num_nodes
