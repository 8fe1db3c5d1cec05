import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symjax_frames import nn
from symjax_frames.nn._graph import FEW as FEW_NODES
from symjax_frames.nn._graph import OtherNodes
from tests.helpers.networks import (
    FEW,
    FORMS,
    Inputs,
    apply,
    as_edge_list,
    complete,
    draw_inputs,
    draw_network,
    pairs,
    promotion,
    relative,
    value_and_gradients,
)


def stack(items):
    return jax.tree.map(lambda *leaves: np.stack(leaves), *items)


@pytest.mark.parametrize(
    "name", ["MessagePassing", "PointGNN", pytest.param("EGNN", marks=pytest.mark.fast)]
)
def test_packed_graphs_equal_dense_ones(name):
    counts, size, dtype = (4, 1, 3), 4, np.float64
    network = draw_network(name, 0, dtype=dtype, layers=1)
    clouds = [draw_inputs(seed, size, dtype=dtype) for seed in range(3)]
    masks = np.stack([np.arange(size) < count for count in counts])
    run = value_and_gradients
    with promotion(dtype):
        dense = jax.jit(jax.vmap(run, (None, 0, 0)))(
            network, stack(clouds), nn.CompleteGraph(masks)
        )

    # Two padding nodes at the end, an edge between them and one to a real node, and edges of two
    # real nodes to themselves, one of which has no others; shuffled edges.
    starts = np.cumsum([0, *counts])
    padding = starts[-1] + np.arange(2)
    ends = [pairs(count) for count in counts]
    senders = np.concatenate(
        [s + start for (s, _), start in zip(ends, starts, strict=False)] + [[padding[0], 0, 0, 4]]
    )
    receivers = np.concatenate(
        [r + start for (_, r), start in zip(ends, starts, strict=False)]
        + [[padding[1]] * 2 + [0, 4]]
    )
    edges = [cloud.edges[r, s] for cloud, (s, r) in zip(clouds, ends, strict=True)]
    shuffle = np.random.default_rng(0).permutation(len(senders))

    def pack(rows, extra):
        filled = np.full((extra, rows[0].shape[-1]), 1e10, dtype)
        return np.concatenate([*rows, filled])

    packed = Inputs(
        *[
            pack([getattr(x, field)[:count] for x, count in zip(clouds, counts, strict=True)], 2)
            for field in ("points", "velocities", "nodes")
        ],
        pack(edges, 4)[shuffle],
    )
    real = np.arange(starts[-1] + 2) < starts[-1]
    graph = nn.EdgeList(senders[shuffle], receivers[shuffle], real)
    joined = graph._replace(receivers=np.roll(graph.receivers, 1))
    # Edges of node 1 in place of those from a node to itself, which makes them real.
    met = graph._replace(senders=np.where(senders == receivers, 1, senders)[shuffle])
    with promotion(dtype):
        results, wrong, met = (run(network, packed, each) for each in (graph, joined, met))

    rows = np.asarray(masks).ravel()

    def errors(packed):
        return [
            relative(of_packed[: starts[-1]], of_dense.reshape(-1, of_dense.shape[-1])[rows])
            for of_packed, of_dense in zip(node_leaves(packed), node_leaves(dense), strict=True)
            if np.any(of_dense)
        ]

    assert max(errors(results)) < FEW * np.finfo(dtype).eps
    assert min(errors(wrong) + errors(met)) > 1e-2


def node_leaves(results):
    """The output, and the gradients by points, velocities and nodes."""
    output, _, by_input = results
    return [output, *by_input[:3]]


def fill_padding(inputs, mask, content):
    """Writes the rows of `content` into the padding of nodes and edges, the diagonal included."""
    edge = mask[:, None] & mask[None, :] & ~np.eye(len(mask), dtype=bool)
    rows = [np.where(mask[:, None], *pair) for pair in zip(inputs[:3], content[:3], strict=True)]
    return Inputs(*rows, np.where(edge[..., None], inputs.edges, content.edges))


@jax.jit
def value_and_derivatives(network, inputs, graph):
    """The output, the gradients by parameters and by inputs, and their derivatives."""
    run = lambda network, inputs: value_and_gradients(network, inputs, graph)
    along = jax.tree.map(
        lambda x: jnp.cos(jnp.arange(x.size, dtype=x.dtype)).reshape(x.shape), inputs
    )
    still = jax.tree.map(jnp.zeros_like, network)
    return jax.jvp(run, (network, inputs), (still, along))


@pytest.mark.parametrize(("name", "form"), FORMS)
def test_padding_and_degenerate_inputs_do_no_harm(name, form):
    """One program for all cases: padding changes not one bit, and no derivative becomes a NaN."""
    # The plane is enough for the frames of LayerwiseGNN, which take the longest to compile.
    size, dim = 5, 2 if name.startswith("LayerwiseGNN") else 3
    network, inputs = draw_network(name, 0, dim, layers=1), draw_inputs(0, size, dim)

    def evaluate(inputs, mask):
        graph = nn.CompleteGraph(mask)
        if form == "packed":
            inputs, graph = as_edge_list(inputs, graph)
        return value_and_derivatives(network, inputs, graph)

    check_padding(evaluate, network, inputs, form, bare=name == "MessagePassing")
    check_degenerate(evaluate, network, inputs, form)


def check_padding(evaluate, network, inputs, form, bare):
    mask = np.array([True, True, False, True, False])
    kept = np.flatnonzero(mask)
    content = [draw_inputs(1, *inputs.points.shape)]
    # A bare round of message passing does not clean its inputs, and promises finite ones only.
    for number in [1e10] if bare else [1e10, np.nan, np.inf]:
        content.append(jax.tree.map(lambda x, number=number: np.full_like(x, number), inputs))

    def of_kept(inputs):
        (output, by_parameter, by_input), _ = evaluate(inputs, mask)
        nodes = [leaf[kept] for leaf in by_input[:3]]
        return [output[kept], *nodes, *jax.tree.leaves(by_parameter)], output, by_input

    reference, output, gradient = of_kept(inputs)
    assert output.dtype == np.float32
    for padding in content:
        results, output, gradient = of_kept(fill_padding(inputs, mask, padding))
        chex.assert_trees_all_equal(results, reference)
        np.testing.assert_array_equal(output[~mask], 0)
        chex.assert_tree_all_finite(gradient)
    if form == "dense":
        alone = Inputs(*[leaf[kept] for leaf in inputs[:3]], inputs.edges[kept][:, kept])
        output = jax.jit(apply)(network, alone, complete(len(kept)))
        assert relative(reference[0], output) < FEW * np.finfo(np.float32).eps

    moved = inputs._replace(nodes=inputs.nodes + 1)
    assert relative(of_kept(moved)[0][0], reference[0]) > 1e-2


def check_degenerate(evaluate, network, inputs, form):
    still = inputs._replace(velocities=np.zeros_like(inputs.velocities))
    meeting = inputs._replace(points=np.broadcast_to(inputs.points[:1], inputs.points.shape))
    places = np.arange(len(inputs.points))
    every, none, one = places >= 0, places < 0, places == 1
    cases = [
        (still, every),
        (meeting, every),
        (meeting._replace(velocities=still.velocities), every),
        (jax.tree.map(np.zeros_like, inputs), every),
        (inputs, none),
        (inputs, one),
        (still, one),
    ]
    for case in cases:
        chex.assert_tree_all_finite(evaluate(*case))
    if form == "dense":
        single = Inputs(*[leaf[:1] for leaf in inputs[:3]], inputs.edges[:1, :1])
        assert np.all(np.isfinite(jax.jit(apply)(network, single, complete(1))))

    # The plain norm fails on these inputs.
    assert np.any(np.isnan(jax.grad(lambda v: jnp.linalg.norm(v))(still.velocities)))


def test_sums_over_the_other_nodes_are_written_out_for_few():
    """Reductions of a few numbers are slow loops on CPU, and so are padded slices."""

    def count(operation, num_nodes):
        graph = OtherNodes(jnp.ones(num_nodes, bool))

        def messages(nodes):
            return graph.total(graph.at_receivers(nodes) * graph.at_senders(nodes))

        def derivative(nodes, change):
            return jax.vjp(messages, nodes)[1](change)

        nodes = jnp.ones((num_nodes, 2))
        return jax.jit(derivative).lower(nodes, nodes).as_text().count(f"stablehlo.{operation}")

    # One is along an axis of one entry, and costs nothing.
    assert count("reduce(", FEW_NODES) == 1
    assert count("reduce(", FEW_NODES + 1) > 1
    assert count("pad", FEW_NODES) == 0
    assert count("pad", FEW_NODES + 1) > 0
