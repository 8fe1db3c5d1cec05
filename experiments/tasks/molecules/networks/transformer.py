"""Attention between atoms on coordinates, without any symmetry but that of exchanging atoms."""

from functools import partial

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from experiments.tasks.molecules.networks.basis import Edges, Graph, edge_basis
from symjax_frames import nn

_SHARPEST = 8.0
"""Bound of the scores, so that no exponential overflows and none needs a maximum, which has kinks."""


class PointTransformer(nnx.Module):
    r"""Every atom attends to those around it, with scores and values that see the vector to them.

    Formula, for one head, with queries $q$, keys $k$, values $v$ of the features, scores $b$ and
    values $u$ of the edges, and the envelope $c$:
    $$s_{ij} = c(r_{ij}) \exp\!\left(S \tanh \frac{q_i \cdot k_j / \sqrt d + b_{ij}}{S}\right), \qquad
      h_i \leftarrow h_i + \frac{\sum_j s_{ij} (v_j + u_{ij})}{1 + \sum_j s_{ij}}$$
    so that an atom at the cutoff has no weight and all is smooth. A feed-forward network follows.

    Args:
      num_species: number of chemical elements.
      outputs: number of outputs of each atom.
      hidden: width, a multiple of `heads`.
      layers: number of rounds of attention.
      cutoff: in Angstrom, beyond which atoms do not see each other.
      radial: number of functions of the distance.
      degree: of the polynomials in the direction.
      heads: number of heads.
      rngs: where the parameters are drawn from.

    References:
      Zhao et al., Point Transformer, ICCV 2021, arXiv:2012.09164.
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
        heads: int = 4,
        rngs: nnx.Rngs,
    ):
        if hidden % heads:
            raise ValueError(f"hidden must be a multiple of heads={heads}, got {hidden}")
        self.basis = partial(edge_basis, cutoff=cutoff, radial=radial, degree=degree)
        # Species count from one: the row of zero is that of padding.
        self.embedding = nnx.Embed(
            num_species + 1, hidden, embedding_init=nnx.initializers.normal(1.0), rngs=rngs
        )
        features = radial * (degree + 1) ** 2
        self.layers = nnx.List([_Layer(features, hidden, heads, rngs=rngs) for _ in range(layers)])
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
            nodes = layer(nodes, edges, graph)
        return self.readout(nodes)


class _Layer(nnx.Module):
    def __init__(self, features: int, hidden: int, heads: int, *, rngs: nnx.Rngs):
        self.heads = heads
        self.query = nnx.Linear(hidden, hidden, rngs=rngs)
        self.key_value = nnx.Linear(hidden, 2 * hidden, rngs=rngs)
        self.edge = nn.MLP([features, hidden, hidden + heads], rngs=rngs)
        self.mix = nnx.Linear(hidden, hidden, rngs=rngs)
        self.update = nn.MLP([hidden, 2 * hidden, hidden], rngs=rngs)

    def __call__(
        self, nodes: Float[Array, "atoms hidden"], edges: Edges, graph: Graph
    ) -> Float[Array, "atoms hidden"]:
        hidden = nodes.shape[-1]
        keys, values = jnp.split(graph.at_senders(self.key_value(nodes)), 2, axis=-1)
        seen = self.edge(edges.features)
        products = graph.at_receivers(self.query(nodes)) * keys
        scores = jnp.sum(self._by_head(products), axis=-1) * (self.heads / hidden) ** 0.5
        scores = _SHARPEST * jnp.tanh((scores + seen[..., hidden:]) / _SHARPEST)
        weights = jnp.exp(scores) * edges.envelope
        values = self._by_head(values + seen[..., :hidden]) * weights[..., None]
        sums = graph.total(values.reshape(*values.shape[:-2], hidden))
        whole = jnp.repeat(1 + graph.total(weights), hidden // self.heads, axis=-1)
        nodes += self.mix(sums / whole)
        return nodes + self.update(nodes)

    def _by_head(self, x: Array) -> Array:
        return x.reshape(*x.shape[:-1], self.heads, -1)
