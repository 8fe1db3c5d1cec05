"""A sum over atoms in the manner of PointNet: no atom sees another but through the sum."""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from experiments.tasks.molecules.centred import centred
from experiments.tasks.molecules.networks.basis import Graph
from experiments.tasks.molecules.networks.edge_rounds import computed_dtype, species_embedding
from symjax_frames import nn


class PointSum(nnx.Module):
    r"""Features of every atom by itself, their sum, and outputs of both.

    Formula, of the positions $x_i$ from the mean of the atoms and the species embeddings $a_i$:
    $$h_i = \mathrm{MLP}(x_i, a_i), \qquad y_i = \mathrm{MLP}\Big(h_i, \sum_j h_j\Big)$$

    It has no cutoff, and is smooth wherever the network is.

    Args:
      num_species: number of chemical elements.
      outputs: number of outputs of each atom.
      hidden: width.
      layers: number of hidden layers of the first network.
      rngs: where the parameters are drawn from.

    References:
      Qi et al., PointNet, CVPR 2017, arXiv:1612.00593; Zaheer et al., Deep Sets, NeurIPS 2017,
      arXiv:1703.06114.
    """

    def __init__(self, num_species: int, outputs: int, *, hidden: int, layers: int, rngs: nnx.Rngs):
        self.embedding = species_embedding(num_species, hidden, rngs=rngs)
        self.single = nn.MLP([3 + hidden, *[2 * hidden] * layers, hidden], rngs=rngs)
        self.readout = nn.MLP([2 * hidden, 2 * hidden, 2 * hidden, outputs], rngs=rngs)

    def __call__(
        self,
        positions: Float[Array, "atoms 3"],
        species: Int[Array, " atoms"],
        graph: Graph,
    ) -> Float[Array, "atoms outputs"]:
        """The outputs of each atom; of the graph, only which atoms are real is read."""
        real = graph.mask[:, None]
        dtype = computed_dtype(self.embedding, positions.dtype)
        embedded = self.embedding(species).astype(dtype)
        arms = centred(positions, graph.mask).astype(dtype)
        features = self.single(jnp.concatenate([arms, embedded], axis=-1))
        total = jnp.sum(jnp.where(real, features, 0), axis=0, keepdims=True)
        total = jnp.broadcast_to(total, features.shape)
        outputs = self.readout(jnp.concatenate([features, total], axis=-1))
        return outputs.astype(positions.dtype)
