"""Message passing on coordinates, without any symmetry but that of exchanging atoms."""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from experiments.tasks.molecules.networks.basis import Edges, Graph
from experiments.tasks.molecules.networks.edge_rounds import EdgeRounds, Round
from symjax_frames import nn

_NEIGHBOURS = 2.0
"""Sums over neighbours are divided by it: the root of about four bonds."""


class _Layer(Round):
    def __init__(self, edge_features: int, hidden: int, *, rngs: nnx.Rngs):
        self.receiver = nnx.Linear(hidden, hidden, rngs=rngs)
        self.sender = nnx.Linear(hidden, hidden, use_bias=False, rngs=rngs)
        self.filter = nnx.Linear(edge_features, hidden, use_bias=False, rngs=rngs)
        self.left = nnx.Linear(hidden, hidden, use_bias=False, rngs=rngs)
        self.right = nnx.Linear(hidden, hidden, use_bias=False, rngs=rngs)
        self.update = nn.MLP([3 * hidden, 2 * hidden, hidden], rngs=rngs)

    def sent(self, nodes: Float[Array, "atoms hidden"]) -> Float[Array, "atoms hidden"]:
        return self.sender(nodes)

    def received(
        self,
        nodes: Float[Array, "atoms hidden"],
        seen: Float[Array, "*edges hidden"],
        edges: Edges,
        graph: Graph,
    ) -> Float[Array, "atoms hidden"]:
        messages = graph.at_receivers(self.receiver(nodes)) + seen
        total = graph.total(messages * self.filter(edges.features)) / _NEIGHBOURS
        products = self.left(total) * self.right(total)
        return nodes + self.update(jnp.concatenate([nodes, total, products], axis=-1))


class MessagePassing(EdgeRounds):
    r"""Messages that depend on the vector between two atoms, not on its length alone.

    Formula, for features $h_i$ and edge features $e_{ij}$ of the vector from $i$ to $j$:
    $$m_i = \sum_j (A h_i + B h_j) \odot C e_{ij}, \qquad
      h_i \leftarrow h_i + \mathrm{MLP}(h_i, m_i, U m_i \odot V m_i)$$

    The edge features vanish at the cutoff, and the messages with them. Messages are linear in the
    edge features; angles are seen by products of sums of messages. A network this smooth learns
    more from few molecules.

    The arguments are those of `EdgeRounds`.
    """

    layer = _Layer
