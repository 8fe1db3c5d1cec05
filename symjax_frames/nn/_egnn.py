"""E(n) equivariant graph network: the baseline whose layers are constrained."""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from symjax_frames._checks import check_natural, check_positive
from symjax_frames.linalg import safe_norm
from symjax_frames.nn._graph import Graph, without_padding
from symjax_frames.nn._message import MessagePassing
from symjax_frames.nn._mlp import MLP


class EGNN(nnx.Module):
    r"""Equivariant message passing: invariant messages weigh the directions between points.

    Formula, with $d = x_i - x_j$, messages $m_{ij}$ of $(h_i, h_j, |d|^2, e_{ij})$ as
    `MessagePassing` computes them, and the mean over the nodes that send to $i$:
    $$x_i \leftarrow x_i + \phi_v(h_i)\, v_i + \textstyle\mathrm{mean}_j\, d\, \phi_x(m_{ij}), \qquad
    h_i \leftarrow h_i + \Delta h_i.$$

    Equivariant to E(dim) by construction, in any dimension, as long as the features are invariant.
    Each layer sees its features layer-normalised, which the published network does not do and which
    the learning rates of the other networks need.

    Args:
      node_features: the number of invariant features of a node, may be 0; its speed is added.
      edge_features: the number of invariant features of an edge, may be 0.
      hidden: the width.
      layers: the number of layers.
      rngs: where the parameters are drawn from.

    Raises:
      ValueError: if a size is out of range; when called, if a shape does not fit the graph.

    References:
      Satorras et al., E(n) Equivariant Graph Neural Networks, ICML 2021, arXiv:2102.09844.
    """

    def __init__(
        self,
        node_features: int,
        edge_features: int,
        *,
        hidden: int = 64,
        layers: int = 4,
        rngs: nnx.Rngs,
    ):
        check_natural("node_features", node_features)
        check_natural("edge_features", edge_features)
        check_positive("hidden", hidden)
        check_positive("layers", layers)
        self.sizes = (node_features, edge_features)
        self.embed = nnx.Linear(node_features + 1, hidden, rngs=rngs)
        self.rounds = nnx.List(
            [MessagePassing(hidden, edge_features + 1, hidden, rngs=rngs) for _ in range(layers)]
        )
        # Forces grow with distances and distances with forces, so both start near zero, as
        # published.
        small = nnx.initializers.variance_scaling(1e-6, "fan_avg", "uniform")
        self.norms = nnx.List([nnx.LayerNorm(hidden, rngs=rngs) for _ in range(layers)])
        self.pulls = nnx.List(
            [MLP([hidden, hidden, 1], final_init=small, rngs=rngs) for _ in range(layers)]
        )
        self.gates = nnx.List([MLP([hidden, hidden, 1], rngs=rngs) for _ in range(layers)])

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
            graph, (points.shape[-1], *self.sizes), points, velocities, nodes, edges
        )
        others = jnp.maximum(graph.total(jnp.ones((*edges.shape[:-1], 1), points.dtype)), 1)
        speed = safe_norm(velocities, keepdims=True)
        hidden = self.embed(jnp.concatenate([nodes, speed], axis=-1))
        for norm, exchange, pull, gate in zip(
            self.norms, self.rounds, self.pulls, self.gates, strict=True
        ):
            difference = graph.at_receivers(points) - graph.at_senders(points)
            squared = jnp.sum(difference**2, axis=-1, keepdims=True)
            normed = norm(hidden)
            change, messages = exchange(normed, jnp.concatenate([squared, edges], axis=-1), graph)
            force = graph.total(difference * pull(messages)) / others
            points = points + gate(normed) * velocities + force
            hidden = hidden + change
        return jnp.where(graph.mask[:, None], points, 0)
