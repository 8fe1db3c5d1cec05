"""Atoms, or elements of their local frames, as nodes that see a row of neighbours each."""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

EXACT = jax.lax.Precision.HIGHEST
"""Of products of vectors: accelerators would round the factors, and with them the symmetry."""


class Surroundings(NamedTuple):
    """Which atoms, and which of their periodic images, each atom sees.

    An edge from an atom to itself, without a translation, is padding.

    Attributes:
      senders: a row of neighbours for each atom.
      images: the translation of each in lattice vectors, integers.
      cell: the lattice vectors in Angstrom, one a row; zero in directions without a period.
    """

    senders: Int[Array, "*batch atoms slots"]
    images: Int[Array, "*batch atoms slots 3"]
    cell: Float[Array, "*batch 3 3"]

    def vectors(self, positions: Float[Array, "atoms 3"]) -> Float[Array, "atoms slots 3"]:
        r"""From each atom to its neighbours: $x_j + n \cdot h - x_i$; exactly zero for padding."""
        images, cell = (x.astype(positions.dtype) for x in (self.images, self.cell))
        shifts = jnp.matmul(images, cell, precision=EXACT)
        return positions[self.senders] - positions[:, None] + shifts

    def table(
        self, positions: Float[Array, "atoms 3"], species: Int[Array, " atoms"], cutoff: float
    ) -> "NeighbourTable":
        """The graph of the atoms themselves, with vectors as they are."""
        mask = species > 0
        return NeighbourTable(self.vectors(positions), self.senders, mask, mask.shape[0], cutoff)


def all_others(species: Int[Array, " atoms"], dtype: jnp.dtype) -> Surroundings:
    """Every real atom sees every other one, as in a molecule."""
    count = len(species)
    own = jnp.arange(count, dtype=jnp.int32)[:, None]
    others = (own + jnp.arange(1, max(count, 2), dtype=jnp.int32)[None]) % count
    real = (species > 0)[:, None] & (species > 0)[others]
    senders = jnp.where(real, others, own)
    return Surroundings(senders, jnp.zeros((*senders.shape, 3), jnp.int8), jnp.zeros((3, 3), dtype))


class Elements(NamedTuple):
    """Elements of the local frames of atoms, which are the nodes of a graph then.

    Attributes:
      atoms: the atom of each, in rising order; `None` where each atom has one element, of weight
        one.
      axes: the axes of the element as columns.
      weights: those of an atom sum to one; zero for padding.
    """

    atoms: Int[Array, " elements"] | None
    axes: Float[Array, "elements 3 3"]
    weights: Float[Array, " elements"]


_FLAT = 1e-2
"""Where neighbours extend less than this across the first axis, squared and of the whole extent,
vectors across that axis are damped."""


@dataclass(frozen=True)
class NeighbourTable:
    r"""A graph whose nodes have a row of neighbours each; no message is scattered.

    Nodes are atoms, or with `elements` the elements of their local frames. What a node sends is then
    features in the coordinates of its element, of which the last `3 * channels` are the components
    of vectors. They are averaged over the elements of the sender, and turned into the element of
    the receiver, as `symjax_frames.frames.transport` does for as many elements of each node:

    $$h_{il \leftarrow j} = \rho(Q_{il})^{-1} \sum_k w_{jk}\, \rho(Q_{jk})\, h_{jk}.$$

    Where the neighbours of an atom lie on a line, the axes across it are arbitrary, and components
    of vectors along them are damped to zero.

    Attributes:
      vectors: from each node to its neighbours in Angstrom, in the coordinates of its element; zero
        for padding.
      senders: the atoms these are.
      mask: `True` for real nodes.
      num_atoms: the number of atoms.
      cutoff: in Angstrom, beyond which atoms do not see each other.
      elements: the elements that are the nodes; `None` for atoms themselves.
      channels: the number of vectors among the features of each node.
    """

    vectors: Float[Array, "nodes slots 3"]
    senders: Int[Array, "nodes slots"]
    mask: Bool[Array, " nodes"]
    num_atoms: int
    cutoff: float
    elements: Elements | None = None
    channels: int = 0

    @property
    def edge_mask(self) -> Bool[Array, "nodes slots"]:
        """`True` for real edges."""
        return self.mask[:, None] & jnp.any(self.vectors != 0, axis=-1)

    def at_receivers(
        self, nodes: Float[Array, "nodes *features"]
    ) -> Float[Array, "nodes 1 *features"]:
        """What each edge sees of the node it ends at, ready to broadcast."""
        return nodes[:, None]

    def at_senders(
        self, nodes: Float[Array, "nodes *features"]
    ) -> Float[Array, "nodes slots *features"]:
        """What each edge sees of the atom it starts from, in the coordinates of its receiver."""
        return self.delivered(self.collected(nodes)).astype(nodes.dtype)

    def collected(self, nodes: Float[Array, "nodes *features"]) -> Float[Array, "atoms *features"]:
        """What the nodes of each atom send together, in coordinates of no frame."""
        if self.elements is None:
            return nodes
        pushed, atoms = self.pushed(nodes), self.elements.atoms
        if atoms is None:
            return pushed
        return jax.ops.segment_sum(pushed, atoms, self.num_atoms, indices_are_sorted=True)

    def pushed(self, nodes: Float[Array, "nodes features"]) -> Float[Array, "nodes features"]:
        """What each element has a part of in what its atom sends, in coordinates of no frame."""
        assert self.elements is not None
        scalars, vectors = self._split(nodes.astype(self.elements.axes.dtype))
        turned = jnp.einsum("nab,ncb->nca", self.elements.axes, vectors, precision=EXACT)
        return self.elements.weights[:, None] * self._joined(scalars, turned)

    def delivered(
        self, atoms: Float[Array, "atoms *features"]
    ) -> Float[Array, "nodes slots *features"]:
        """What each edge sees of what was collected, in the coordinates of its receiver."""
        if self.elements is None:
            return atoms[self.senders]
        scalars, vectors = self._split(atoms[self.senders])
        turned = jnp.einsum("nsca,nab->nscb", vectors, self._damped_axes, precision=EXACT)
        return self._joined(scalars, turned)

    @property
    def _damped_axes(self) -> Float[Array, "nodes 3 3"]:
        """The axes of each element, shortened where they are arbitrary."""
        assert self.elements is not None
        ratios = jnp.sum((self.vectors / self.cutoff) ** 2, axis=-1, keepdims=True)
        arms = jnp.maximum(1 - ratios, 0) ** 2 * self.vectors
        squares = jnp.sum(arms**2, axis=1)
        across, whole = squares[:, 1] + squares[:, 2], jnp.sum(squares, axis=1)
        # The square of what is like a squared length: two derivatives vanish on the line.
        damping = (across / jnp.where(whole > 0, across + _FLAT * whole, 1)) ** 2
        factors = jnp.stack([jnp.ones_like(damping), damping, damping], axis=1)
        return self.elements.axes * factors[:, None, :]

    def _split(self, features: Float[Array, "*rows features"]) -> tuple[Array, Array]:
        scalars = features.shape[-1] - 3 * self.channels
        vectors = features[..., scalars:].reshape(*features.shape[:-1], self.channels, 3)
        return features[..., :scalars], vectors

    def _joined(self, scalars: Array, vectors: Array) -> Float[Array, "*rows features"]:
        vectors = vectors.reshape(*scalars.shape[:-1], 3 * self.channels)
        return jnp.concatenate([scalars, vectors], axis=-1)

    def total(
        self, messages: Float[Array, "nodes slots *features"]
    ) -> Float[Array, "nodes *features"]:
        """The sum of the messages that each node receives; those of padding have to be zero."""
        return jnp.sum(messages, axis=1)
