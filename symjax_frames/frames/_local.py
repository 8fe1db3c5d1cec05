"""Frames of the nodes of a graph, each made of the arms to its neighbours."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from symjax_frames._sharding import on_own_mesh
from symjax_frames._types import Frame
from symjax_frames.elements import Isometry
from symjax_frames.frames._local_bases import LocalGroup, local_bases
from symjax_frames.frames._overflow import OnOverflow, check_on_overflow, local_weights
from symjax_frames.frames._robust_options import Closure, RobustOptions, check_options


class LocalDiagnostics(NamedTuple):
    """What `local_diagnostics` returns; the options have to hold the maximum over the nodes.

    Attributes:
      num_neighbours: the neighbours of each node within the cutoff; as many have to fit into
        `max_neighbours`.
      num_choices: the neighbours of each node that may give each of the axes but the last, with a
        nonzero weight; as many have to fit into the entries of `capacity`.
      num_elements: the elements of each node with a nonzero weight, before any is dropped; as many
        have to fit into `max_elements`.
      dropped: the share of their weight that did not fit into `capacity` and `max_elements`.
    """

    num_neighbours: Int[Array, " nodes"]
    num_choices: Int[Array, "nodes axes"]
    num_elements: Int[Array, " nodes"]
    dropped: Float[Array, " nodes"]


@on_own_mesh
def local_frames(
    vectors: Float[Array, "edges dim"],
    receivers: Int[Array | np.ndarray, " edges"],
    num_nodes: int,
    cutoff: float,
    mask: Bool[Array, " edges"] | None = None,
    *,
    group: LocalGroup = "E",
    max_neighbours: int | None = None,
    capacity: tuple[int, ...] | None = None,
    max_elements: int | None = None,
    threshold: float = 0.9,
    closure: Closure = "signs",
    on_overflow: OnOverflow = "drop",
    detach: bool = False,
) -> Frame:
    r"""A robust frame for each node of a graph, from the vectors to its neighbours within a cutoff.

    The elements of node $i$ are rotations and reflections $Q$, bases as those of `robust_frame`,
    made of arms that are damped towards the cutoff $c$:

    $$a_{ij} = \left(1 - |r_{ij}|^2 / c^2\right)_+^2 r_{ij}, \qquad
      r_{ij} = x_j - x_i \; (+ \text{ a translation of the lattice}).$$

    An edge is a vector, so several periodic images of one node, or of the node itself, are
    neighbours like others. A neighbour has no influence when it enters, and where the longest
    damped arm itself vanishes, all signs of the axes have the same weight. Invariants and vectors of
    a node then never jump, not even when its last neighbour leaves or reaches it, if the averaged
    function is continuous there, as a sum of messages damped in the same way is.

    The frame is packed, a graph for each node: `packed(action, receivers)` moves data of edges by
    the frame of the node they end at, `packed(action, jnp.arange(num_nodes))` data of nodes. The
    averaged function must be local: the row of a node may depend on its own edges only, since
    elements of different nodes with the same index are unrelated.

    Example:
      >>> import jax, jax.numpy as jnp, numpy as np, symjax_frames as sf
      >>> def layer(points, senders, receivers):
      ...     vectors = points[senders] - points[receivers]
      ...     frame = sf.local_frames(vectors, receivers, 5, 4.0, max_elements=8)
      ...     def forces(vectors):
      ...         damping = jnp.maximum(1 - jnp.sum(vectors**2, 1, keepdims=True) / 16, 0) ** 3
      ...         return jax.ops.segment_sum(damping * jnp.sin(vectors + 1), receivers, 5)
      ...     nodes = sf.packed(sf.vectors, jnp.arange(5))
      ...     edges = sf.packed(sf.vectors, receivers)
      ...     forces = sf.frame_average(
      ...         forces, lambda vectors: frame, in_actions=edges, out_actions=nodes
      ...     )
      ...     return forces(vectors)
      >>> points = jax.random.normal(jax.random.key(0), (5, 2))
      >>> jax.jit(layer)(points, *np.nonzero(~np.eye(5, dtype=bool))).shape
      (5, 2)

    Args:
      vectors: from the node at which each edge ends to the neighbour at which it starts, one per
        row, in 2 or 3 dimensions.
      receivers: the node at which each edge ends, to whose frame it belongs, from 0 to
        `num_nodes - 1`.
      num_nodes: the number of nodes of one or many graphs, static.
      cutoff: the distance from which on a neighbour has no influence, in the unit of the vectors.
      mask: `True` for real edges; the others are padding and change nothing. Edges of length zero
        and edges longer than the cutoff do no harm.
      group: the group the frames are for.
      max_neighbours: how many neighbours of a node are considered, those with the longest damped
        arms; memory is in proportion to `num_nodes * max_neighbours`. By default it is the largest
        number of edges that end at one node; where edges or mask are traced by `jax.jit`, that of all
        edges, which is always enough, and refused if it takes much memory. `local_diagnostics`
        tells how many are needed.
      capacity: as in `robust_frame`.
      max_elements: as in `robust_frame`; of each node.
      threshold: as in `robust_frame`.
      closure: as in `robust_frame`.
      on_overflow: as in `robust_frame`, of each node; weight also counts as dropped at a node with
        more neighbours than `max_neighbours`. Inside of `jax.jit`, `local_diagnostics` tells.
      detach: treat the frames as constant under differentiation.

    Returns:
      A frame of at least 32 bits, whose elements carry `(frame, nodes, ...)` axes and shift
      nothing, and whose weights are `(frame, nodes)`. Where `receivers` are known to come in rows
      of one length, node by node, nothing is sorted or gathered to make it.

    Raises:
      ValueError: if `vectors` are no floating vectors in 2 or 3 dimensions, `receivers` no integers
        or `mask` no booleans for as many edges, `num_nodes` is no positive integer, `cutoff` no
        positive number, `group` neither of the two, `max_neighbours` no positive integer, or
        missing where the default would take too much memory; and as `robust_frame`.

    Note:
      Gradients of invariants are exact everywhere. So are second derivatives, unless a node and all
      its neighbours lie on one line or coincide. On a line the axes across it are arbitrary: what
      a function sees of the node must then be on that line too, as the vectors of its edges are.
      `transport` says what this means for vectors that come from neighbours.

      `jax.export` may keep the number of edges open where there is one node. That of nodes is kept
      open by `jax.vmap` over nodes, each with its edges in a row.

    References:
      Weighted averages over the coordinate systems of pairs of neighbours: Pozdnyakov and Ceriotti,
      Smooth, exact rotational symmetrization for deep learning on point clouds, NeurIPS 2023,
      arXiv:2305.19302.
      Weighted frames: Dym, Lawrence and Siegel, Equivariant Frames and the Impossibility of
      Continuous Canonicalization, ICML 2024, arXiv:2402.16077.
    """
    check_on_overflow(on_overflow)
    options = capacity, max_elements, threshold, closure
    bases, num_neighbours = local_bases(
        *(vectors, receivers, num_nodes, cutoff, mask, group, max_neighbours), *options
    )

    def room() -> RobustOptions:
        edges = len(receivers)
        slots = edges if max_neighbours is None else min(edges, max_neighbours)
        return check_options(slots, vectors.shape[1], group, *options)

    weights = local_weights(bases, num_neighbours, max_neighbours, on_overflow, room)
    linear = jnp.swapaxes(bases.linear, 0, 1)
    shifts = jnp.zeros(linear.shape[:-1], linear.dtype)
    frame = Frame(Isometry(linear, shifts), weights)
    return jax.lax.stop_gradient(frame) if detach else frame


@on_own_mesh
def local_diagnostics(
    vectors: Float[Array, "edges dim"],
    receivers: Int[Array | np.ndarray, " edges"],
    num_nodes: int,
    cutoff: float,
    mask: Bool[Array, " edges"] | None = None,
    **options: Any,
) -> LocalDiagnostics:
    """What `local_frames` with the same arguments needs, and the weight that it drops.

    Frames are exact where nothing is dropped and all neighbours fit. The function is pure, so it
    may be called in a jitted step.

    Example:
      >>> import functools, jax, numpy as np, symjax_frames as sf
      >>> square = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
      >>> senders, receivers = np.nonzero(~np.eye(4, dtype=bool))
      >>> diagnose = functools.partial(
      ...     sf.frames.local_diagnostics, num_nodes=4, cutoff=1.2, max_elements=2
      ... )
      >>> needs = jax.jit(diagnose)(square[senders] - square[receivers], receivers)
      >>> needs.num_neighbours.tolist(), needs.num_elements.tolist(), needs.dropped.tolist()
      ([2, 2, 2, 2], [4, 4, 4, 4], [0.5, 0.5, 0.5, 0.5])

    Args:
      vectors: as in `local_frames`.
      receivers: as in `local_frames`.
      num_nodes: as in `local_frames`.
      cutoff: as in `local_frames`.
      mask: as in `local_frames`.
      **options: the options of `local_frames`.

    Returns:
      Vectors with an entry for each node.

    Raises:
      ValueError: as `local_frames`.
    """
    for name in ("detach", "on_overflow"):
        options.pop(name, None)
    bases, num_neighbours = local_bases(vectors, receivers, num_nodes, cutoff, mask, **options)
    needed = bases.needed
    return LocalDiagnostics(num_neighbours, needed[:, :-1], needed[:, -1], bases.dropped)
