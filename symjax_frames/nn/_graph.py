"""Which nodes send to which: a complete graph, dense, or a list of edges, packed."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Shaped

from symjax_frames._sharding import on_own_mesh
from symjax_frames._unrolled import copies, total
from symjax_frames.nn._checks import check_shape

FEW = 8
"""Nodes, at most, whose sums over others are written out; of more, programs take long to compile."""


class CompleteGraph(NamedTuple):
    """Every real node sends to every other: edges are the entries of a matrix.

    Messages are broadcast and summed, never gathered or scattered. Edge features have shape
    `(nodes, nodes, edge_features)`, receiver first; the diagonal is padding, as is every edge that
    touches a padding node.

    Attributes:
      mask: `True` for real nodes, `False` for padding.
    """

    mask: Bool[Array, " nodes"]

    @property
    def edge_mask(self) -> Bool[Array, "nodes nodes"]:
        """`True` for the edges from one real node to another."""
        others = ~jnp.eye(len(self.mask), dtype=bool)
        return others & self.mask[:, None] & self.mask[None, :]

    def at_receivers(
        self, nodes: Float[Array, "nodes features"]
    ) -> Float[Array, "nodes 1 features"]:
        """What each edge sees of the node it ends at, ready to broadcast."""
        return nodes[:, None, :]

    def at_senders(self, nodes: Float[Array, "nodes features"]) -> Float[Array, "1 nodes features"]:
        """What each edge sees of the node it starts from, ready to broadcast."""
        return nodes[None, :, :]

    def total(
        self, messages: Float[Array, "nodes nodes features"]
    ) -> Float[Array, "nodes features"]:
        """The sum of the messages that each node receives."""
        return jnp.sum(jnp.where(self.edge_mask[:, :, None], messages, 0), axis=1)


class OtherNodes(NamedTuple):
    """A complete graph without the edges of nodes to themselves, which a matrix has on its diagonal.

    What a network makes of a `CompleteGraph` of few nodes: of five, a fifth less is computed. Edge
    features have shape `(nodes - 1, nodes, edge_features)`; entry `[d - 1, i]` is the edge to node
    `i` from node `(i + d) % nodes`. Still nothing of a layer is gathered or scattered.

    Attributes:
      mask: `True` for real nodes, `False` for padding.
    """

    mask: Bool[Array, " nodes"]

    @property
    def edge_mask(self) -> Bool[Array, "others nodes"]:
        """`True` for the edges from one real node to another."""
        return self.at_senders(self.mask[:, None])[..., 0] & self.mask[None, :]

    def at_receivers(
        self, nodes: Shaped[Array, "nodes *features"]
    ) -> Shaped[Array, "others nodes *features"]:
        """What each edge sees of the node it ends at."""
        return copies(nodes, len(nodes) - 1, 0)

    def at_senders(
        self, nodes: Shaped[Array, "nodes *features"]
    ) -> Shaped[Array, "others nodes *features"]:
        """What each edge sees of the node it starts from."""
        return _rotated(nodes)

    def total(
        self, messages: Float[Array, "others nodes *features"]
    ) -> Float[Array, "nodes *features"]:
        """The sum of the messages that each node receives."""
        mask = jnp.expand_dims(self.edge_mask, tuple(range(2, messages.ndim)))
        return total(jnp.where(mask, messages, 0), 0)


@on_own_mesh
def _rotated(nodes: Shaped[Array, "nodes *features"]) -> Shaped[Array, "others nodes *features"]:
    """Row by row the nodes from the second, third, ... on, and then from the start again."""
    count, *features = nodes.shape
    if 1 < count <= FEW:
        # The transpose is a sum of parts, written out.
        parts = list(jax.lax.split(nodes, [1] * count, 0))
        turned = [part for start in range(1, count) for part in parts[start:] + parts[:start]]
        return jax.lax.concatenate(turned, 0).reshape(count - 1, count, *features)
    # Rows of n + 1 of the nodes one after the other, over and over: every row starts one later.
    rows = jnp.broadcast_to(nodes[None], (count + 1, *nodes.shape))
    return rows.reshape(count, count + 1, *features)[1:, :count]


@on_own_mesh
def without_diagonal(
    edges: Float[Array, "nodes nodes edge_features"],
) -> Float[Array, "others nodes edge_features"]:
    """The features of the edges of a `CompleteGraph`, as those of the same graph as `OtherNodes`."""
    count, _, features = edges.shape
    # Each row twice, one after the other, with a row more: every row starts one later.
    twice = jnp.concatenate([edges, edges], axis=1).reshape(2 * count**2, features)
    rows = jnp.pad(twice, ((0, count), (0, 0))).reshape(count, 2 * count + 1, features)
    return jnp.swapaxes(rows[:, 1:count], 0, 1)


class EdgeList(NamedTuple):
    """Nodes of one or many graphs concatenated, with the edges as index pairs.

    Edge features have shape `(edges, edge_features)`. An edge that touches a padding node is
    padding, and so is one from a node to itself, which a complete graph does not have either. So
    `jnp.nonzero(adjacency, size=...)`, which fills up with edges from node 0 to itself, is a list of
    edges of fixed length.

    Attributes:
      senders: the node each edge starts from, from 0 to `nodes - 1`.
      receivers: the node each edge ends at, likewise.
      mask: `True` for real nodes, `False` for padding.
    """

    senders: Int[Array, " edges"]
    receivers: Int[Array, " edges"]
    mask: Bool[Array, " nodes"]

    @property
    def edge_mask(self) -> Bool[Array, " edges"]:
        """`True` for the edges from one real node to another."""
        others = self.senders != self.receivers
        return others & self.mask[self.senders] & self.mask[self.receivers]

    def at_receivers(self, nodes: Float[Array, "nodes features"]) -> Float[Array, "edges features"]:
        """What each edge sees of the node it ends at."""
        return nodes[self.receivers]

    def at_senders(self, nodes: Float[Array, "nodes features"]) -> Float[Array, "edges features"]:
        """What each edge sees of the node it starts from."""
        return nodes[self.senders]

    def total(self, messages: Float[Array, "edges features"]) -> Float[Array, "nodes features"]:
        """The sum of the messages that each node receives."""
        messages = jnp.where(self.edge_mask[:, None], messages, 0)
        return jax.ops.segment_sum(messages, self.receivers, num_segments=len(self.mask))


Graph = CompleteGraph | EdgeList | OtherNodes
"""What rounds of messages take as their graph."""


def without_padding(
    graph: Graph,
    sizes: tuple[int, int, int],
    points: Float[Array, "nodes dim"],
    velocities: Float[Array, "nodes dim"],
    nodes: Float[Array, "nodes node_features"],
    edges: Float[Array, "*edges edge_features"],
) -> tuple[Array, Array, Array, Array]:
    """The inputs of a network with zeros for padding, whatever it held.

    Sums over nodes and edges mask padding again. It has to be zero as well, because the derivative
    of a masked sum multiplies it by zero, and zero times a number that overflowed is a NaN.

    Args:
      graph: which nodes and edges are real.
      sizes: the numbers of axes, of node features and of edge features that the network expects.
      points: the points.
      velocities: their velocities.
      nodes: the features of the nodes.
      edges: the features of the edges.

    Returns:
      Points, velocities, nodes and edges.

    Raises:
      ValueError: if one of them has not the shape that the graph and the sizes ask for.
    """
    dim, node_features, edge_features = sizes
    (count,) = graph.mask.shape
    check_shape("points", points, (count, dim))
    check_shape("velocities", velocities, (count, dim))
    check_shape("nodes", nodes, (count, node_features))
    check_shape("edges", edges, (*graph.edge_mask.shape, edge_features))
    node, edge = graph.mask[:, None], graph.edge_mask[..., None]
    points, velocities, nodes = (jnp.where(node, x, 0) for x in (points, velocities, nodes))
    return points, velocities, nodes, jnp.where(edge, edges, 0)
