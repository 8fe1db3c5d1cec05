"""Attention between atoms on coordinates, without any symmetry but that of exchanging atoms."""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from experiments.tasks.molecules.networks.basis import Edges, Graph
from experiments.tasks.molecules.networks.edge_rounds import EdgeRounds, Round
from symjax_frames import nn

_HEADS = 4
_SHARPEST = 8.0
"""Bound of the scores: no exponential overflows, and none needs a maximum, which has kinks."""


class _Layer(Round):
    def __init__(self, edge_features: int, hidden: int, *, rngs: nnx.Rngs):
        if hidden % _HEADS:
            raise ValueError(f"hidden must be a multiple of the {_HEADS} heads, got {hidden}")
        self.query = nnx.Linear(hidden, hidden, rngs=rngs)
        self.key_value = nnx.Linear(hidden, 2 * hidden, rngs=rngs)
        self.edge = nn.MLP([edge_features, hidden, hidden + _HEADS], rngs=rngs)
        self.mix = nnx.Linear(hidden, hidden, rngs=rngs)
        self.update = nn.MLP([hidden, 2 * hidden, hidden], rngs=rngs)

    def sent(self, nodes: Float[Array, "atoms hidden"]) -> Float[Array, "atoms features"]:
        return self.key_value(nodes)

    def received(
        self,
        nodes: Float[Array, "atoms hidden"],
        seen: Float[Array, "*edges features"],
        edges: Edges,
        graph: Graph,
    ) -> Float[Array, "atoms hidden"]:
        hidden = nodes.shape[-1]
        keys, values = jnp.split(seen, 2, axis=-1)
        of_edge = self.edge(edges.features)
        products = graph.at_receivers(self.query(nodes)) * keys
        scores = jnp.sum(_by_head(products), axis=-1) * (_HEADS / hidden) ** 0.5
        scores = _SHARPEST * jnp.tanh((scores + of_edge[..., hidden:]) / _SHARPEST)
        weights = jnp.exp(scores) * edges.envelope
        values = _by_head(values + of_edge[..., :hidden]) * weights[..., None]
        sums = graph.total(values.reshape(*values.shape[:-2], hidden))
        whole = jnp.repeat(1 + graph.total(weights), hidden // _HEADS, axis=-1)
        nodes += self.mix(sums / whole)
        return nodes + self.update(nodes)


def _by_head(features: Float[Array, "*edges hidden"]) -> Float[Array, "*edges heads features"]:
    return features.reshape(*features.shape[:-1], _HEADS, -1)


class PointTransformer(EdgeRounds):
    r"""Every atom attends to those around it, with scores and values that see the vector to them.

    Formula, for one of the four heads, with queries $q$, keys $k$, values $v$ of the features,
    scores $b$ and values $u$ of the edges, and the envelope $c$:
    $$s_{ij} = c(r_{ij}) \exp\!\left(S \tanh \frac{q_i \cdot k_j / \sqrt d + b_{ij}}{S}\right),
      \qquad h_i \leftarrow h_i + \frac{\sum_j s_{ij} (v_j + u_{ij})}{1 + \sum_j s_{ij}}$$
    so that an atom at the cutoff has no weight and all is smooth. A feed-forward network follows.

    The arguments are those of `EdgeRounds`; `hidden` is a multiple of four.

    Raises:
      ValueError: `hidden` is no multiple of four.

    References:
      Zhao et al., Point Transformer, ICCV 2021, arXiv:2012.09164.
    """

    layer = _Layer
