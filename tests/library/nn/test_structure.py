import jax
import numpy as np
import pytest
from jax.extend.core import ClosedJaxpr, Jaxpr

from symjax_frames import nn
from tests.helpers.networks import (
    BOTH_FORMS,
    FEW,
    FORMS,
    Inputs,
    apply,
    as_edge_list,
    complete,
    curvature,
    draw_inputs,
    draw_network,
    relative,
    value_and_gradients,
)


def primitives(jaxpr):
    """The names of all primitives of a jaxpr and of those inside."""
    names = set()
    for equation in jaxpr.eqns:
        names.add(equation.primitive.name)
        inner = jax.tree.leaves(
            equation.params, is_leaf=lambda leaf: isinstance(leaf, Jaxpr | ClosedJaxpr)
        )
        for leaf in inner:
            if isinstance(leaf, Jaxpr | ClosedJaxpr):
                names |= primitives(leaf.jaxpr if isinstance(leaf, ClosedJaxpr) else leaf)
    return names


@pytest.mark.parametrize("name", BOTH_FORMS)
def test_dense_message_passing_neither_gathers_nor_scatters(name):
    network, inputs = draw_network(name, 0), draw_inputs(0)
    indexing = ("gather", "scatter", "dynamic_slice", "dynamic_update_slice")

    def used(inputs, graph):
        forward = jax.make_jaxpr(apply)(network, inputs, graph)
        backward = jax.make_jaxpr(value_and_gradients)(network, inputs, graph)
        twice = jax.make_jaxpr(curvature)(network, inputs, graph)
        return [
            {name for name in primitives(closed.jaxpr) if name.startswith(indexing)}
            for closed in (forward, backward, twice)
        ]

    assert used(inputs, complete(4)) == [set(), set(), set()]
    listed = used(*as_edge_list(inputs, complete(4)))
    assert all({"gather", "scatter-add"} <= names for names in listed)


@pytest.mark.parametrize(("name", "form"), FORMS)
def test_relabelling_nodes_relabels_outputs(name, form):
    network, inputs = draw_network(name, 0), draw_inputs(0)
    order = np.array([2, 0, 3, 1])
    relabelled = Inputs(*[leaf[order] for leaf in inputs[:3]], inputs.edges[order][:, order])
    graph = nn.CompleteGraph(np.array([True, True, False, True]))
    moved = nn.CompleteGraph(graph.mask[order])
    if form == "packed":
        inputs, graph = as_edge_list(inputs, graph)
        relabelled, moved = as_edge_list(relabelled, moved)
    run = jax.jit(apply)
    output = run(network, inputs, graph)

    assert relative(run(network, relabelled, moved), output[order]) < FEW * np.finfo(np.float32).eps
    # Edges that do not follow their nodes, and nodes that know their place, break it.
    misplaced = relabelled._replace(edges=inputs.edges)
    assert relative(run(network, misplaced, moved), output[order]) > 1e-3
    numbered = [
        x._replace(nodes=x.nodes + np.arange(4, dtype=np.float32)[:, None])
        for x in (inputs, relabelled)
    ]
    first, second = (run(network, x, g) for x, g in zip(numbered, (graph, moved), strict=True))
    assert relative(second, first[order]) > 1e-3
