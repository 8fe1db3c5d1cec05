"""What the networks for molecules share: an embedding, rounds over the edges, and a readout."""

from collections.abc import Callable
from functools import partial
from typing import ClassVar

from flax import nnx
from jaxtyping import Array, Float, Int

from experiments.tasks.molecules.networks.basis import Graph, edge_basis, edge_vectors
from symjax_frames import nn


def species_embedding(num_species: int, hidden: int, *, rngs: nnx.Rngs) -> nnx.Embed:
    """A vector for every species. Species count from one: the row of zero is that of padding."""
    return nnx.Embed(
        num_species + 1, hidden, embedding_init=nnx.initializers.normal(1.0), rngs=rngs
    )


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

    layer: ClassVar[Callable[..., nnx.Module]]
    """Built as `layer(edge_features, hidden, rngs=rngs)`; maps `(nodes, edges, graph)` to nodes."""

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

    def __call__(
        self,
        positions: Float[Array, "atoms 3"],
        species: Int[Array, " atoms"],
        graph: Graph,
    ) -> Float[Array, "atoms outputs"]:
        """The outputs of each atom."""
        edges = self.basis(edge_vectors(positions, graph))
        nodes = self.embedding(species).astype(positions.dtype)
        for layer in self.layers:
            nodes = layer(nodes, edges, graph)
        return self.readout(nodes)
