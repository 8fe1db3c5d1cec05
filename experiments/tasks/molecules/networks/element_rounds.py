"""Rounds of messages between elements of local frames, a bounded number of them at a time."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from experiments.tasks.molecules.networks.basis import edge_vectors
from experiments.tasks.molecules.networks.edge_rounds import EdgeRounds, Round, computed_dtype
from experiments.tasks.molecules.networks.neighbour_table import Elements, NeighbourTable

_EDGES = 2**16
"""Edges that are looked at together: their features should fit into the caches of a processor."""

NodesOf = Callable[[Elements], tuple[NeighbourTable, Int[Array, " nodes"]]]
"""Elements to the graph whose nodes they are, and to the species of their atoms."""


def outputs_in_turn(
    backbone: EdgeRounds, nodes_of: NodesOf, elements: Elements, num_atoms: int, slots: int
) -> Float[Array, "elements outputs"]:
    r"""What a network says of the elements of local frames, in memory for a part of them.

    Equals `backbone` on the graph of all elements, to rounding. Parts whose elements are all padding
    are not evaluated. So it costs in proportion to the elements that have a weight, which come
    first, however many there is room for, and has one program for all of them.

    Args:
      backbone: the network.
      nodes_of: makes the graph of some of the elements.
      elements: of all atoms, with a weight or as padding; their `atoms` are no `None`.
      num_atoms: the number of atoms.
      slots: the neighbours of each.
    """
    count = elements.weights.shape[0]
    size = jax.core.min_dim(count, jax.core.max_dim(1, _EDGES // slots))
    parts = -(-count // size)

    def cut(array: Array, filling: int) -> Array:
        widths = ((0, parts * size - count), *((0, 0),) * (array.ndim - 1))
        padded = jnp.pad(array, widths, constant_values=filling)
        return padded.reshape(parts, size, *array.shape[1:])

    assert elements.atoms is not None
    atoms = cut(elements.atoms, num_atoms)
    rows = Elements(atoms, cut(elements.axes, 0), cut(elements.weights, 0))

    def embedded(part: Elements) -> Array:
        _, species = nodes_of(part)
        return backbone.embedded(species, part.axes.dtype)

    def of_parts(
        fn: Callable[..., Array], shape: tuple[int, ...], dtype: Any, *arrays: Array
    ) -> Array:
        """A function of parts of elements, and zero for padding; kept in no memory but its own."""

        def of_part(part: Elements, *arrays: Array) -> Array:
            zeros = jnp.zeros(shape, dtype)
            used = jnp.any(part.weights > 0)
            return jax.lax.cond(used, fn, lambda *_: zeros, part, *arrays)

        return jax.lax.map(lambda row: jax.checkpoint(of_part)(*row), (rows, *arrays))

    hidden, wide = backbone.embedding.features, elements.axes.dtype
    dtype = computed_dtype(backbone.embedding, wide)
    nodes = of_parts(embedded, (size, hidden), dtype)
    for layer in backbone.layers:

        def sent(part: Elements, nodes: Array, layer: Round = layer) -> Array:
            table, _ = nodes_of(part)
            return table.pushed(layer.sent(nodes))

        features = jax.eval_shape(layer.sent, nodes[0]).shape[-1]
        pushed = of_parts(sent, (size, features), wide, nodes).reshape(parts * size, features)
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

        nodes = of_parts(received, (size, hidden), dtype, nodes)
    outputs = jax.eval_shape(backbone.readout, nodes[0]).shape[-1]

    def readout(part: Elements, nodes: Array) -> Array:
        del part
        return backbone.readout(nodes).astype(wide)

    values = of_parts(readout, (size, outputs), wide, nodes)
    return values.reshape(parts * size, outputs)[:count]
