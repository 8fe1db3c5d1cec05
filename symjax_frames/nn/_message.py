"""One round of message passing, dense or packed by the graph it is given."""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from symjax_frames._checks import check_natural, check_positive
from symjax_frames.nn._activation import alone, silu
from symjax_frames.nn._checks import check_shape
from symjax_frames.nn._graph import Graph


class MessagePassing(nnx.Module):
    r"""Messages along edges, and the change they make to the nodes.

    Formula: $m_{ij} = a(W_m\, a(W_r h_i + W_s h_j + W_e e_{ij} + b) + b_m)$ and
    $\Delta h_i = W_u\, a(W_h [h_i, \sum_j m_{ij}] + b_h) + b_u$, with the SiLU $a$, receiver $i$
    and sender $j$. The first linear map of the messages is split into its parts, so that the nodes'
    share of it costs one product per node and not one per edge.

    Args:
      node_features: the number of features of a node, before and after.
      edge_features: the number of features of an edge; may be 0.
      hidden: the width of messages and update.
      rngs: where the parameters are drawn from.

    Raises:
      ValueError: if a size is out of range; when called, if a shape does not fit the graph.
    """

    def __init__(self, node_features: int, edge_features: int, hidden: int, *, rngs: nnx.Rngs):
        check_positive("node_features", node_features)
        check_natural("edge_features", edge_features)
        check_positive("hidden", hidden)
        self.receiver = nnx.Linear(node_features, hidden, rngs=rngs)
        self.sender = nnx.Linear(node_features, hidden, use_bias=False, rngs=rngs)
        self.edge = nnx.Linear(edge_features, hidden, use_bias=False, rngs=rngs)
        self.message = nnx.Linear(hidden, hidden, rngs=rngs)
        self.hidden = nnx.Linear(node_features + hidden, hidden, rngs=rngs)
        self.update = nnx.Linear(hidden, node_features, rngs=rngs)

    def __call__(
        self,
        nodes: Float[Array, "nodes features"],
        edges: Float[Array, "*edges edge_features"],
        graph: Graph,
    ) -> tuple[Float[Array, "nodes features"], Float[Array, "*edges hidden"]]:
        """The change of the nodes, and the messages.

        Padding may hold any finite numbers and changes nothing real. The outputs in its rows, and
        on the edges that `graph.edge_mask` excludes, have no meaning.
        """
        check_shape("nodes", nodes, (len(graph.mask), self.receiver.in_features))
        check_shape("edges", edges, (*graph.edge_mask.shape, self.edge.in_features))
        ends = graph.at_receivers(self.receiver(nodes)) + graph.at_senders(self.sender(nodes))
        inner = silu(alone(ends + self.edge(edges)))
        messages = alone(silu(alone(self.message(inner))))
        received = jnp.concatenate([nodes, graph.total(messages)], axis=-1)
        return self.update(silu(alone(self.hidden(received)))), messages
