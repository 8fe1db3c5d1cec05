"""What the networks for molecules share: an embedding, rounds over the edges, and a readout."""

from abc import abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from experiments.tasks.molecules.networks.basis import Edges, Graph, edge_basis, edge_vectors
from symjax_frames import nn


def species_embedding(num_species: int, hidden: int, *, rngs: nnx.Rngs) -> nnx.Embed:
    """A vector for every species. Species count from one: the row of zero is that of padding."""
    return nnx.Embed(
        num_species + 1, hidden, embedding_init=nnx.initializers.normal(1.0), rngs=rngs
    )


def computed_dtype(embedding: nnx.Embed, dtype: Any) -> Any:
    """What a network computes in: the dtype of parameters of 16 bits, else that of the positions."""
    own = embedding.embedding.dtype
    return own if jnp.finfo(own).bits < 32 else dtype


class Round(nnx.Module):
    """A round of messages, in two parts: what atoms send, and what becomes of it."""

    @abstractmethod
    def sent(self, nodes: Float[Array, "atoms hidden"]) -> Float[Array, "atoms features"]:
        """What each atom sends to all that see it."""

    @abstractmethod
    def received(
        self,
        nodes: Float[Array, "atoms hidden"],
        seen: Float[Array, "*edges features"],
        edges: Edges,
        graph: Graph,
    ) -> Float[Array, "atoms hidden"]:
        """The atoms after the round, of what each edge sees of its sender."""

    def __call__(
        self, nodes: Float[Array, "atoms hidden"], edges: Edges, graph: Graph
    ) -> Float[Array, "atoms hidden"]:
        """The atoms after the round."""
        return self.received(nodes, graph.at_senders(self.sent(nodes)), edges, graph)


class EdgeRounds(nnx.Module):
    r"""A species embedding, rounds in which atoms see their neighbours, and a readout of each atom.

    Formula, of the species $z_i$ and the features $e_{ij}$ of the edges:
    $$h_i = \mathrm{Embed}(z_i), \qquad h \leftarrow \mathrm{layer}(h, e), \qquad
      y_i = \mathrm{MLP}(h_i)$$

    A subclass names the class of its layers as `layer`.

    Args:
      num_species: number of chemical elements.
      outputs: number of outputs of each atom.
      hidden: width.
      layers: number of rounds.
      cutoff: in Angstrom, beyond which atoms do not see each other.
      radial: number of functions of the distance.
      degree: of the polynomials in the direction.
      rngs: where the parameters are drawn from.
    """

    layer: ClassVar[Callable[..., Round]]
    """Built as `layer(edge_features, hidden, rngs=rngs)`."""

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
        self.embedding = species_embedding(num_species, hidden, rngs=rngs)
        edge_features = radial * (degree + 1) ** 2
        self.layers = nnx.List(
            [type(self).layer(edge_features, hidden, rngs=rngs) for _ in range(layers)]
        )
        self.readout = nn.MLP([hidden, hidden, outputs], rngs=rngs)

    def embedded(self, species: Int[Array, " atoms"], dtype: Any) -> Float[Array, "atoms hidden"]:
        """The atoms before the first round, in the dtype of the rounds for positions of a dtype."""
        return self.embedding(species).astype(computed_dtype(self.embedding, dtype))

    def edges(self, vectors: Float[Array, "*edges 3"]) -> Edges:
        """What the rounds see of the edges, which is computed in the dtype of their vectors."""
        dtype = computed_dtype(self.embedding, vectors.dtype)
        return jax.tree.map(lambda leaf: leaf.astype(dtype), self.basis(vectors))

    def __call__(
        self,
        positions: Float[Array, "atoms 3"],
        species: Int[Array, " atoms"],
        graph: Graph,
    ) -> Float[Array, "atoms outputs"]:
        """The outputs of each atom."""
        edges = self.edges(edge_vectors(positions, graph))
        nodes = self.embedded(species, positions.dtype)
        for layer in self.layers:
            nodes = layer(nodes, edges, graph)
        return self.readout(nodes).astype(positions.dtype)
