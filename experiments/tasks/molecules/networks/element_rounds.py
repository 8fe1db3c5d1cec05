"""Rounds of messages between elements of local frames, a bounded number of them at a time."""

from collections.abc import Callable

import jax
from jaxtyping import Array, Float, Int

from experiments.tasks.molecules.networks.basis import edge_vectors
from experiments.tasks.molecules.networks.edge_rounds import EdgeRounds, Round, computed_dtype
from experiments.tasks.molecules.networks.neighbour_table import Elements, NeighbourTable
from experiments.tasks.molecules.networks.parts import Parts

NodesOf = Callable[[Elements], tuple[NeighbourTable, Int[Array, " nodes"]]]
"""Elements to the graph whose nodes they are, and to the species of their atoms."""


def outputs_in_turn(
    backbone: EdgeRounds, nodes_of: NodesOf, elements: Elements, num_atoms: int, slots: int
) -> Float[Array, "elements outputs"]:
    r"""What a network says of the elements of local frames, in memory for a part of them.

    Equals `backbone` on the graph of all elements, to rounding, and costs what `Parts` says.

    Args:
      backbone: the network.
      nodes_of: makes the graph of some of the elements.
      elements: of all atoms, with a weight or as padding; their `atoms` are no `None`.
      num_atoms: the number of atoms.
      slots: the neighbours of each.
    """
    parts = Parts(elements, num_atoms, slots)
    atoms = parts.elements.atoms
    assert atoms is not None

    def embedded(part: Elements) -> Array:
        _, species = nodes_of(part)
        return backbone.embedded(species, part.axes.dtype)

    hidden, wide = backbone.embedding.features, elements.axes.dtype
    dtype = computed_dtype(backbone.embedding, wide)
    nodes = parts.map(embedded, hidden, dtype)
    for layer in backbone.layers:

        def sent(part: Elements, nodes: Array, layer: Round = layer) -> Array:
            table, _ = nodes_of(part)
            return table.pushed(layer.sent(nodes))

        features = jax.eval_shape(layer.sent, nodes[0]).shape[-1]
        pushed = parts.map(sent, features, wide, nodes).reshape(-1, features)
        collected = jax.ops.segment_sum(
            pushed, atoms.reshape(-1), num_atoms, indices_are_sorted=True
        )

        def received(
            part: Elements, nodes: Array, layer: Round = layer, collected: Array = collected
        ) -> Array:
            table, _ = nodes_of(part)
            edges = backbone.edges(edge_vectors(part.axes[:, 0], table))
            seen = table.delivered(collected).astype(nodes.dtype)
            return layer.received(nodes, seen, edges, table)

        nodes = parts.map(received, hidden, dtype, nodes)
    outputs = jax.eval_shape(backbone.readout, nodes[0]).shape[-1]

    def readout(part: Elements, nodes: Array) -> Array:
        del part
        return backbone.readout(nodes).astype(wide)

    return parts.joined(parts.map(readout, outputs, wide, nodes))
