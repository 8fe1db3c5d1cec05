"""An unconstrained message-passing network for point clouds: the backbone that averaging is for."""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from symjax_frames._checks import check_natural, check_positive
from symjax_frames._unrolled import copies, total
from symjax_frames.linalg import safe_norm
from symjax_frames.nn._checks import check_length
from symjax_frames.nn._graph import (
    FEW,
    CompleteGraph,
    Graph,
    OtherNodes,
    without_diagonal,
    without_padding,
)
from symjax_frames.nn._message import MessagePassing

_zeros = nnx.initializers.zeros_init()


class PointGNN(nnx.Module):
    r"""Message passing on moving points, with no symmetry but that of relabelling the points.

    Each of the layers sees the points where the layers before have moved them. Nodes start as
    $h_i = W [x_i, v_i, |v_i|, nodes_i]$. With $d = x_i - x_j$, $r = \sqrt{|d|^2 + softening^2}$ and
    edge features $e$, messages are computed from the normalised $h_i$, $h_j$ and
    $[d, v_i - v_j, r, e, e / r, e\, d / r]$; after $h_i \leftarrow h_i + \Delta h_i$, velocities
    and then points are moved,

    $$v_i \leftarrow v_i + A h_i + \textstyle\sum_j (w \cdot m_{ij})\, d / r, \qquad
    x_i \leftarrow x_i + v_i / layers + B h_i,$$

    with all linear maps affine. The last three start at zero, so an untrained network moves points
    by their velocities. Points and velocities enter as plain numbers: turning the input may
    change the output in any way.

    Args:
      dim: the number of axes of a point.
      node_features: the number of features of a node besides point and velocity; may be 0.
      edge_features: the number of features of an edge besides geometry; may be 0.
      hidden: the width.
      layers: the number of rounds of message passing.
      softening: the length below which distances do not shrink further, positive.
      rngs: where the parameters are drawn from.

    Raises:
      ValueError: if a size is out of range; when called, if a shape does not fit the graph.
    """

    def __init__(
        self,
        dim: int,
        node_features: int,
        edge_features: int,
        *,
        hidden: int = 64,
        layers: int = 4,
        softening: float = 0.01,
        rngs: nnx.Rngs,
    ):
        check_positive("dim", dim)
        check_natural("node_features", node_features)
        check_natural("edge_features", edge_features)
        check_positive("hidden", hidden)
        check_positive("layers", layers)
        check_length("softening", softening)
        seen = 2 * dim + 1 + (2 + dim) * edge_features
        self.embed = nnx.Linear(2 * dim + 1 + node_features, hidden, rngs=rngs)
        self.norms = nnx.List([nnx.LayerNorm(hidden, rngs=rngs) for _ in range(layers)])
        self.rounds = nnx.List(
            [MessagePassing(hidden, seen, hidden, rngs=rngs) for _ in range(layers)]
        )
        self.moves = nnx.List(
            [nnx.Linear(hidden, 2 * dim, kernel_init=_zeros, rngs=rngs) for _ in range(layers)]
        )
        self.pulls = nnx.List(
            [nnx.Linear(hidden, 1, kernel_init=_zeros, rngs=rngs) for _ in range(layers)]
        )
        self.sizes = (dim, node_features, edge_features)
        self.softening = softening

    def __call__(
        self,
        points: Float[Array, "nodes dim"],
        velocities: Float[Array, "nodes dim"],
        nodes: Float[Array, "nodes node_features"],
        edges: Float[Array, "*edges edge_features"],
        graph: Graph,
    ) -> Float[Array, "nodes dim"]:
        """The moved points, zero where the graph has padding."""
        points, velocities, nodes, edges = without_padding(
            graph, self.sizes, points, velocities, nodes, edges
        )
        if isinstance(graph, CompleteGraph) and len(points) <= FEW:
            graph, edges = OtherNodes(graph.mask), without_diagonal(edges)
        speed = safe_norm(velocities, keepdims=True)
        hidden = self.embed(jnp.concatenate([points, velocities, speed, nodes], axis=-1))
        for norm, exchange, move, pull in zip(
            self.norms, self.rounds, self.moves, self.pulls, strict=True
        ):
            seen, direction = self._geometry(points, velocities, edges, graph)
            change, messages = exchange(norm(hidden), seen, graph)
            hidden = hidden + change
            drift, kick = jnp.split(move(hidden), 2, axis=-1)
            velocities = velocities + kick + graph.total(pull(messages) * direction)
            points = points + velocities / len(self.rounds) + drift
        return jnp.where(graph.mask[:, None], points, 0)

    def _geometry(
        self, points: Array, velocities: Array, edges: Array, graph: Graph
    ) -> tuple[Array, Array]:
        difference = graph.at_receivers(points) - graph.at_senders(points)
        relative = graph.at_receivers(velocities) - graph.at_senders(velocities)
        squared = total(difference**2, difference.ndim - 1)[..., None]
        distance = jnp.sqrt(squared + self.softening**2)
        direction = difference / distance
        directed = edges[..., None] * copies(direction, edges.shape[-1], direction.ndim - 1)
        directed = directed.reshape(*edges.shape[:-1], edges.shape[-1] * points.shape[-1])
        seen = [difference, relative, distance, edges, edges / distance, directed]
        return jnp.concatenate(seen, axis=-1), direction
