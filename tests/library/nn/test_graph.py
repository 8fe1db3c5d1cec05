import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

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
    pairs,
    promotion,
    relative,
    value_and_gradients,
)


def stack(items):
    return jax.tree.map(lambda *leaves: np.stack(leaves), *items)


@pytest.mark.parametrize("dtype", [pytest.param(np.float32, marks=pytest.mark.fast), np.float64])
@pytest.mark.parametrize("name", BOTH_FORMS)
def test_packed_graphs_equal_dense_ones(name, dtype):
    counts, size = (4, 1, 3), 4
    network = draw_network(name, 0, dtype=dtype)
    clouds = [draw_inputs(seed, size, dtype=dtype) for seed in range(3)]
    masks = np.stack([np.arange(size) < count for count in counts])
    # Gradients amplify rounding more than the outputs do: compared where there is room for it.
    run = value_and_gradients if dtype == np.float64 else jax.jit(apply)
    with promotion(dtype):
        dense = jax.jit(jax.vmap(run, (None, 0, 0)))(
            network, stack(clouds), nn.CompleteGraph(masks)
        )

    # Two padding nodes at the end, an edge between them and one to a real node; shuffled edges.
    starts = np.cumsum([0, *counts])
    padding = starts[-1] + np.arange(2)
    ends = [pairs(count) for count in counts]
    senders = np.concatenate(
        [s + start for (s, _), start in zip(ends, starts, strict=False)] + [[padding[0], 0]]
    )
    receivers = np.concatenate(
        [r + start for (_, r), start in zip(ends, starts, strict=False)] + [[padding[1]] * 2]
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
        pack(edges, 2)[shuffle],
    )
    real = np.arange(starts[-1] + 2) < starts[-1]
    graph = nn.EdgeList(senders[shuffle], receivers[shuffle], real)
    joined = graph._replace(receivers=np.roll(graph.receivers, 1))
    with promotion(dtype):
        results, wrong = run(network, packed, graph), run(network, packed, joined)

    rows = np.asarray(masks).ravel()

    def errors(packed):
        return [
            relative(of_packed[: starts[-1]], of_dense.reshape(-1, of_dense.shape[-1])[rows])
            for of_packed, of_dense in zip(node_leaves(packed), node_leaves(dense), strict=True)
            if np.any(of_dense)
        ]

    assert max(errors(results)) < FEW * np.finfo(dtype).eps
    assert min(errors(wrong)) > 1e-2
    assert node_leaves(results)[0].dtype == dtype


def node_leaves(results):
    """The output and, where they were computed, the gradients by points, velocities and nodes."""
    if not isinstance(results, tuple):
        return [results]
    output, _, by_input = results
    return [output, *by_input[:3]]


def fill_padding(inputs, mask, content):
    """Writes the rows of `content` into the padding of nodes and edges, the diagonal included."""
    edge = mask[:, None] & mask[None, :] & ~np.eye(len(mask), dtype=bool)
    rows = [np.where(mask[:, None], *pair) for pair in zip(inputs[:3], content[:3], strict=True)]
    return Inputs(*rows, np.where(edge[..., None], inputs.edges, content.edges))


@pytest.mark.parametrize(("name", "form"), FORMS)
def test_padding_changes_nothing_by_not_one_bit(name, form):
    mask = np.array([True, True, False, True, False, True])
    kept = np.flatnonzero(mask)
    network, inputs = draw_network(name, 0), draw_inputs(0, 6)
    content = [draw_inputs(1, 6)]
    # A bare round of message passing does not clean its inputs, and promises finite ones only.
    for number in [1e10] + [np.nan, np.inf] * (name != "MessagePassing"):
        content.append(jax.tree.map(lambda x, number=number: np.full_like(x, number), inputs))

    def evaluate(inputs):
        graph = nn.CompleteGraph(mask)
        if form == "packed":
            inputs, graph = as_edge_list(inputs, graph)
        output, by_parameter, by_input = value_and_gradients(network, inputs, graph)
        nodes = [leaf[kept] for leaf in by_input[:3]]
        return [output[kept], *nodes, *jax.tree.leaves(by_parameter)], output, by_input

    reference, output, gradient = evaluate(inputs)
    for padding in content:
        results, output, gradient = evaluate(fill_padding(inputs, mask, padding))
        chex.assert_trees_all_equal(results, reference)
        np.testing.assert_array_equal(output[~mask], 0)
        chex.assert_tree_all_finite(gradient)
    if form == "dense":
        alone = Inputs(*[leaf[kept] for leaf in inputs[:3]], inputs.edges[kept][:, kept])
        output = jax.jit(apply)(network, alone, complete(len(kept)))
        assert relative(reference[0], output) < FEW * np.finfo(np.float32).eps

    moved = inputs._replace(nodes=inputs.nodes + 1)
    assert relative(evaluate(moved)[0][0], reference[0]) > 1e-2


@pytest.mark.parametrize(("name", "form"), FORMS)
def test_degenerate_inputs_make_no_nan(name, form):
    network, inputs = draw_network(name, 0, layers=1), draw_inputs(0)
    still = inputs._replace(velocities=np.zeros_like(inputs.velocities))
    meeting = inputs._replace(points=np.broadcast_to(inputs.points[:1], inputs.points.shape))
    every, none, one = np.ones(4, bool), np.zeros(4, bool), np.arange(4) == 1
    cases = [
        (still, every),
        (meeting, every),
        (meeting._replace(velocities=still.velocities), every),
        (jax.tree.map(np.zeros_like, inputs), every),
        (inputs, none),
        (inputs, one),
        (still, one),
    ]

    def evaluate(inputs, mask):
        graph = nn.CompleteGraph(mask)
        if form == "packed":
            inputs, graph = as_edge_list(inputs, graph)
        return curvature(network, inputs, graph)

    chex.assert_tree_all_finite(jax.jit(jax.vmap(evaluate))(*stack(cases)))
    single = Inputs(*[leaf[:1] for leaf in inputs[:3]], inputs.edges[:1, :1])
    if form == "dense":
        assert np.all(np.isfinite(jax.jit(apply)(network, single, complete(1))))

    # The plain norm fails on these inputs.
    assert np.any(np.isnan(jax.grad(lambda v: jnp.linalg.norm(v))(still.velocities)))
