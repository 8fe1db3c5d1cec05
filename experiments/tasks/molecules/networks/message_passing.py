"""Message passing on coordinates, without any symmetry but that of exchanging atoms."""

from functools import partial

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from experiments.tasks.molecules.networks.basis import Edges, Graph, edge_basis
from symjax_frames import nn

_NEIGHBOURS = 2.0
"""Sums over neighbours are divided by it: the root of about four bonds."""


class MessagePassing(nnx.Module):
    r"""Messages that depend on the vector between two atoms, not on its length alone.

    Formula, for features $h_i$ and edge features $e_{ij}$ of the vector from $i$ to $j$:
    $$m_i = \sum_j (A h_i + B h_j) \odot C e_{ij}, \qquad
      h_i \leftarrow h_i + \mathrm{MLP}(h_i, m_i, U m_i \odot V m_i)$$

    The edge features vanish at the cutoff, and the messages with them. Messages are linear in them, and
    products of their sums are what sees angles: a network this smooth learns more from few molecules.

    Args:
      num_species: number of chemical elements.
      outputs: number of outputs of each atom.
      hidden: width.
      layers: number of rounds of messages.
      cutoff: in Angstrom, beyond which atoms do not see each other.
      radial: number of functions of the distance.
      degree: of the polynomials in the direction.
      rngs: where the parameters are drawn from.
    """

    def __init__(
        self,
        num_species: int,
        outputs: int,
        *,
        hidden: int,
        layers: int,
        cutoff: float,
        radial: int,
        degree: int,
        rngs: nnx.Rngs,
    ):
        self.basis = partial(edge_basis, cutoff=cutoff, radial=radial, degree=degree)
        # Species count from one: the row of zero is that of padding.
        self.embedding = nnx.Embed(
            num_species + 1, hidden, embedding_init=nnx.initializers.normal(1.0), rngs=rngs
        )
        features = radial * (degree + 1) ** 2
        self.layers = nnx.List([_Layer(features, hidden, rngs=rngs) for _ in range(layers)])
        self.readout = nn.MLP([hidden, hidden, outputs], rngs=rngs)

    def __call__(
        self,
        positions: Float[Array, "atoms 3"],
        species: Int[Array, " atoms"],
        graph: Graph,
    ) -> Float[Array, "atoms outputs"]:
        """The outputs of each atom."""
        edges = self.basis(positions, graph)
        nodes = self.embedding(species).astype(positions.dtype)
        for layer in self.layers:
            nodes += layer(nodes, edges, graph)
        return self.readout(nodes)


class _Layer(nnx.Module):
    def __init__(self, features: int, hidden: int, *, rngs: nnx.Rngs):
        self.receiver = nnx.Linear(hidden, hidden, rngs=rngs)
        self.sender = nnx.Linear(hidden, hidden, use_bias=False, rngs=rngs)
        self.filter = nnx.Linear(features, hidden, use_bias=False, rngs=rngs)
        self.left = nnx.Linear(hidden, hidden, use_bias=False, rngs=rngs)
        self.right = nnx.Linear(hidden, hidden, use_bias=False, rngs=rngs)
        self.update = nn.MLP([3 * hidden, 2 * hidden, hidden], rngs=rngs)

    def __call__(
        self, nodes: Float[Array, "atoms hidden"], edges: Edges, graph: Graph
    ) -> Float[Array, "atoms hidden"]:
        messages = graph.at_receivers(self.receiver(nodes)) + graph.at_senders(self.sender(nodes))
        total = graph.total(messages * self.filter(edges.features)) / _NEIGHBOURS
        products = self.left(total) * self.right(total)
        return self.update(jnp.concatenate([nodes, total, products], axis=-1))
