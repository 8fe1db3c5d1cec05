"""Rounds of messages inside of the neighbourhood of an atom, in the coordinates of one frame."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from experiments.tasks.molecules.networks.basis import envelope
from experiments.tasks.molecules.networks.edge_rounds import EdgeRounds
from experiments.tasks.molecules.networks.neighbour_table import Elements, NeighbourTable
from experiments.tasks.molecules.networks.parts import Parts
from symjax_frames.linalg import safe_norm

CloudsOf = Callable[[Elements], tuple[NeighbourTable, Int[Array, "nodes cloud"]]]
"""Elements to their neighbours, and to the species of their atoms and of these, 0 for padding."""


def outputs_of_clouds(
    backbone: EdgeRounds, clouds_of: CloudsOf, elements: Elements, num_atoms: int, slots: int
) -> Float[Array, "elements outputs"]:
    r"""What a network says of an atom, of the cloud of its neighbours in each element of its frame.

    All rounds are between the atoms of the cloud, so no message goes from frame to frame. With the
    features $e$ of the edges and the envelope $c$, of the vectors $r$ from the atom in the middle:
    $$h \leftarrow \mathrm{layer}(h, \tilde e), \qquad
      \tilde e_{st} = c(r_t)\, e(r_t - r_s), \qquad c(r_0) = 1$$

    An atom that leaves the cloud sends nothing any more, with two continuous derivatives. The energy
    is a sum of functions of one element each. So its average over drawn elements is that over all of
    them, which is not so where messages go between frames.

    Args:
      backbone: the network.
      clouds_of: the clouds of some of the elements.
      elements: of all atoms; with `atoms`, those with a weight come first.
      num_atoms: the number of atoms.
      slots: the neighbours of each.
    """

    def of_elements(part: Elements) -> Float[Array, "nodes outputs"]:
        table, species = clouds_of(part)

        def of_cloud(vectors: Array, species: Array) -> Array:
            return _output(backbone, vectors, species, table.cutoff)

        return jax.vmap(of_cloud)(table.vectors, species)

    if elements.atoms is None:
        return of_elements(elements)
    outputs = jax.eval_shape(of_elements, elements)
    parts = Parts(elements, num_atoms, (slots + 1) ** 2)
    return parts.joined(parts.map(of_elements, outputs.shape[1], outputs.dtype))


def _output(
    backbone: EdgeRounds,
    vectors: Float[Array, "slots 3"],
    species: Int[Array, " cloud"],
    cutoff: float,
) -> Float[Array, " outputs"]:
    """What the network says of the atom in the middle of a cloud, which is the first."""
    count, real = species.shape[0], species > 0
    positions = jnp.concatenate([jnp.zeros_like(vectors[:1]), vectors])
    senders = jnp.broadcast_to(jnp.arange(count), (count, count))
    rows = NeighbourTable(positions[None] - positions[:, None], senders, real, count, cutoff)
    fade = jnp.where(real[1:], envelope(safe_norm(vectors), cutoff), 0)
    fade = jnp.concatenate([jnp.ones_like(fade[:1]), fade])[None, :, None]
    edges = jax.tree.map(lambda leaf: leaf * fade.astype(leaf.dtype), backbone.edges(rows.vectors))
    nodes = backbone.embedded(species, vectors.dtype)
    # In the last round no message counts but those to the atom in the middle.
    *layers, last = backbone.layers
    for layer in layers:
        nodes = layer.received(nodes, layer.sent(nodes)[None], edges, rows)
    edges = jax.tree.map(lambda leaf: leaf[:1], edges)
    [node] = last.received(nodes[:1], last.sent(nodes)[None], edges, rows)
    return backbone.readout(node).astype(vectors.dtype)
