import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import symjax_frames as sf
from symjax_frames import nn
from symjax_frames.testing import hard_clouds
from tests.helpers.clouds import Motions, draw_motions
from tests.helpers.networks import (
    MOVING,
    apply,
    complete,
    draw_inputs,
    draw_network,
    promotion,
    relative,
    value_and_gradients,
)

LINEARS = ["receiver", "sender", "edge", "message", "hidden", "update"]
LAW = {"in_actions": (sf.points, sf.vectors), "out_actions": sf.points}


def moving_part(network, inputs):
    """The network as a function of what the group moves, points and velocities."""
    graph, (nodes, edges) = complete(len(inputs.points)), map(jnp.asarray, inputs[2:])
    return lambda points, velocities: network(points, velocities, nodes, edges, graph)


def violations(fns, inputs, motions):
    """How much each function of points and velocities misses each motion, over its size.

    The cloud and its images are one batch, so that every function is compiled once.
    """
    points = [inputs.points, *motions.move(inputs.points)]
    velocities = [inputs.velocities, *motions.move(inputs.velocities, shifts=False)]
    batch = [np.stack(leaves).astype(inputs.points.dtype) for leaves in (points, velocities)]
    errors = {}
    run = jax.jit(jax.vmap(lambda *args: {name: fn(*args) for name, fn in fns.items()}))
    for name, (here, *there) in jax.device_get(run(*batch)).items():
        expected = motions.move(here)
        sizes = np.max(np.abs(expected), axis=(1, 2))
        errors[name] = np.max(np.abs(there - expected), axis=(1, 2)) / sizes
    return errors


# Every second one is a reflection: see `draw_motions`.
TURNS, MIRRORS = slice(0, None, 2), slice(1, None, 2)


@pytest.mark.parametrize(
    ("dim", "group", "dtype"),
    [(2, "E", np.float32), pytest.param(3, "SE", np.float64, marks=pytest.mark.fast)],
)
def test_point_gnn_is_equivariant_only_when_averaged(dim, group, dtype):
    inputs = draw_inputs(0, 5, dim, dtype)
    backbone = moving_part(draw_network("PointGNN", 0, dim, dtype, layers=1), inputs)
    frame = functools.partial(sf.pca_frame, group=group)
    fns = {"alone": backbone, "averaged": sf.frame_average(backbone, frame, **LAW)}
    with promotion(dtype):
        errors = violations(fns, inputs, draw_motions("E", dim, 8))
    check_group(errors["averaged"], group, dtype)
    assert np.max(errors["alone"]) > 1e-2


def check_group(errors, group, dtype):
    """Turns are respected, and reflections by E only."""
    bound = 1000 * np.finfo(dtype).eps
    assert np.max(errors[TURNS]) < bound
    if group == "E":
        assert np.max(errors[MIRRORS]) < bound
    else:
        assert np.max(errors[MIRRORS]) > 1e-2


def test_point_gnn_averaged_over_a_finite_group_is_equivariant_to_that_group():
    inputs, group = draw_inputs(0, 5), sf.signed_permutations(3)
    backbone = moving_part(draw_network("PointGNN", 0, layers=1), inputs)
    fns = {"alone": backbone, "averaged": sf.group_average(backbone, group, **LAW)}
    own = np.asarray(group.elements.linear)[1::12]
    other = draw_motions("SO", 3, 4).linear
    linear = np.concatenate([own, other])
    errors = violations(fns, inputs, Motions(linear, np.zeros((len(linear), 3))))
    assert len(own) == 4
    assert np.max(errors["alone"]) > 1e-2
    assert np.max(errors["averaged"][:4]) < 1000 * np.finfo(np.float32).eps
    assert np.max(errors["averaged"][4:]) > 1e-3


def test_untrained_point_gnn_moves_points_by_their_velocities():
    inputs, trained = draw_inputs(0, 5), draw_network("PointGNN", 0, layers=1)
    expected = inputs.points + inputs.velocities

    @jax.jit
    def run(inputs):
        untrained = nn.PointGNN(3, 2, 1, hidden=8, layers=1, rngs=nnx.Rngs(0))
        return [apply(network, inputs, complete(5)) for network in (untrained, trained)]

    first, later = run(inputs)
    assert relative(first, expected) < 4 * np.finfo(np.float32).eps
    assert relative(later, expected) > 1e-2


@pytest.mark.parametrize(
    ("dim", "dtype"),
    [(2, np.float64), pytest.param(3, np.float32, marks=pytest.mark.fast)],
)
def test_egnn_is_equivariant_by_construction(dim, dtype):
    network = draw_network("EGNN", 0, dim, dtype, layers=1)
    inputs = draw_inputs(0, 5, dim, dtype)

    # Features that turn with the cloud are not invariant.
    def leaking(points, velocities):
        return network(points, velocities, points[:, :2], jnp.asarray(inputs.edges), complete(5))

    fns = {"moving": moving_part(network, inputs), "leaking": leaking}
    with promotion(dtype):
        errors = violations(fns, inputs, draw_motions("E", dim, 8))
    check_group(errors["moving"], "E", dtype)
    assert np.max(errors["leaking"]) > 1e-2


@pytest.mark.parametrize(
    ("name", "dim", "group", "dtype"),
    [
        ("LayerwiseGNN", 3, "E", np.float32),
        pytest.param("LayerwiseGNN", 2, "SE", np.float64, marks=pytest.mark.fast),
        (MOVING, 2, "E", np.float64),
        (MOVING, 2, "SE", np.float64),
    ],
)
def test_layerwise_gnn_is_equivariant_by_its_averages(name, dim, group, dtype):
    network = draw_network(name, 0, dim, dtype, 2 if name == MOVING else 1, group=group)
    inputs = draw_inputs(0, 5, dim, dtype)
    edges = np.ones((5, 5, network.layers[0].exchange.edge.in_features), dtype)
    features = np.random.default_rng(0).normal(size=(5, 4, dim)).astype(dtype)
    linear = draw_motions("O", dim, 1).linear[0].astype(dtype)

    @jax.jit
    @jax.vmap
    def layer(features):
        return network.layers[0](features, *map(jnp.asarray, (inputs.nodes, edges)), complete(5))

    with promotion(dtype):
        errors = violations(
            {"whole": moving_part(network, inputs)}, inputs, draw_motions("E", dim, 8)
        )
        here, there = layer(np.stack([features, features @ linear.T]))
    check_group(errors["whole"], group, dtype)
    assert relative(there, here @ linear.T) > 1e-2


def test_moving_points_follow_their_formula():
    inputs, network = draw_inputs(0, 4, 2, np.float64), draw_network(MOVING, 0, 2, np.float64, 1)
    # A layer that changes no features, after which the points move by what it has seen of them.
    update = network.layers[0].exchange.update
    update.kernel, update.bias = jax.tree.map(np.zeros_like, (update.kernel, update.bias))
    with promotion(np.float64):
        moved = jax.jit(apply)(network, inputs, complete(4))

    points, velocities = inputs.points - inputs.points.mean(axis=0), inputs.velocities
    difference = points[:, None] - points[None]
    distance = np.sqrt(np.sum(difference**2, axis=-1, keepdims=True) + 0.01**2)
    edges = inputs.edges * (1 - np.eye(4))[..., None]
    pulls = [np.sum(edges * difference / distance**power, axis=1) for power in (1, 2)]
    lift, (motion,) = np.asarray(network.lift.kernel[...]), network.motions
    mix, move = (np.asarray(linear.kernel[...]) for linear in (motion.mix, motion.move))
    features = np.stack([points, velocities], axis=-1) @ lift
    features = features + np.stack([points, velocities, *pulls], axis=-1) @ mix
    kick, drift = np.moveaxis(features @ move, -1, 0)
    # 4500 eps: sums of some ten terms, of which a coordinate may be what is left.
    np.testing.assert_allclose(moved, inputs.points + velocities + kick + drift, rtol=1e-12)
    assert relative(np.asarray(moved), inputs.points + velocities + drift) > 1e-2


def test_signs_in_closed_form_equal_the_average_over_the_elements():
    dtype, names = np.float64, ("closed", "elements", "proper")
    inputs, graph = draw_inputs(0, 4, 2, dtype), nn.CompleteGraph(np.arange(4) < 3)
    options = {
        "closed": {},
        # To the network any other function is a frame of which it knows nothing.
        "elements": {"frame": functools.partial(sf.pca_frame)},
        "proper": {"group": "SE"},
    }
    networks = {
        name: draw_network("LayerwiseGNN", 0, 2, dtype, 1, **options[name]) for name in names
    }
    padding = np.arange(4)[:, None] == 3
    moved = inputs._replace(points=np.where(padding, 1e10, inputs.points))
    with promotion(dtype):
        closed, elements = (value_and_gradients(networks[n], moved, graph) for n in names[:2])
        proper = jax.jit(apply)(networks["proper"], moved, graph)
    for ours, theirs in zip(jax.tree.leaves(closed), jax.tree.leaves(elements), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-13)
    assert relative(proper, closed[0]) > 1e-3


def test_layerwise_gnn_over_robust_frames_is_equivariant_on_molecules_at_rest():
    names, count = ("methane", "benzene", "water", "carbon dioxide", "square"), 12
    clouds = [each - each.mean(axis=0) for each in map(hard_clouds().get, names)]
    points = np.stack([np.pad(each, ((0, count - len(each)), (0, 0))) for each in clouds])
    mask = np.stack([np.arange(count) < len(each) for each in clouds])
    # What nodes carry is as symmetric as the molecule, as elements are.
    nodes = np.stack([mask, np.cos(np.linalg.norm(points, axis=2).round(6))], axis=-1).astype(float)
    edges = jnp.zeros((count, count, 1))
    g = sf.euclidean(3).draw(jax.random.key(0), float)
    moved = sf.points.push(g, jnp.asarray(points))

    def error(**options):
        network = draw_network("LayerwiseGNN", 0, dtype=np.float64, hidden=4, layers=1, **options)

        @jax.jit
        @jax.vmap
        def apply(points, moved, nodes, mask):
            def one(points):
                graph, still = nn.CompleteGraph(mask), jnp.zeros_like(points)
                return network(points, still, nodes, edges, graph)

            here, there = jax.vmap(one)(jnp.stack([points, moved]))
            change = jnp.where(mask[:, None], sf.points.pull(g, there) - here, 0)
            return jnp.max(jnp.abs(change))

        return dict(zip(names, jax.device_get(apply(points, moved, nodes, mask)), strict=True))

    with promotion(np.float64):
        robust = error(frame=functools.partial(sf.robust_frame, max_elements=48))
        pca = error()
    for name in names:
        assert robust[name] < 1000 * np.finfo(float).eps, name
    for name in ("methane", "benzene", "square"):
        assert pca[name] > 1e-3, name


@pytest.mark.parametrize("moving", [False, True])
def test_layerwise_gnn_leaves_nodes_that_rest_at_one_place_there(moving):
    """Arms from their centroid are rounding errors, which have a direction."""
    count = 5
    robust = functools.partial(sf.robust_frame, max_elements=48)
    nodes = np.random.default_rng(0).normal(size=(count, 2))
    edges, graph = np.ones((count, count, 1)), nn.CompleteGraph(jnp.ones(count, bool))
    still = np.tile(np.array([[1.0, 2.0, 3.0]]) / 7, (count, 1))
    apart = still + 1e-9 * np.random.default_rng(1).normal(size=(count, 3))

    @jax.jit
    def changes(network, nodes, edges, *where):
        def change(points):
            return network(points, jnp.zeros_like(points), nodes, edges, graph) - points

        square = jax.grad(lambda points: jnp.sum(change(points) ** 2))
        return [(change(points), square(points)) for points in where]

    with promotion(np.float64):
        options = {"hidden": 4, "layers": 2, "frame": robust, "moving": moving}
        network = draw_network("LayerwiseGNN", 0, dtype=np.float64, **options)
        rest, control = jax.device_get(changes(network, nodes, edges, still, apart))
    # Points below one, to the rounding of their centroid.
    np.testing.assert_allclose(rest[0], 0, atol=4 * np.finfo(float).eps)
    np.testing.assert_allclose(rest[1], 0, atol=4 * np.finfo(float).eps)
    assert np.max(np.abs(control[0])) > 1e-3


def silu(x):
    return x / (1 + np.exp(-x))


def message_passing(network, nodes, edges):
    """The documented formula, one pair at a time."""
    weights = {name: np.asarray(getattr(network, name).kernel[...]).T for name in LINEARS}
    biases = {name: getattr(network, name).bias for name in LINEARS}
    biases = {name: 0 if bias is None else np.asarray(bias[...]) for name, bias in biases.items()}
    count, messages = len(nodes), {}
    for i in range(count):
        for j in range(count):
            ends = weights["receiver"] @ nodes[i] + weights["sender"] @ nodes[j]
            inner = silu(ends + weights["edge"] @ edges[i, j] + biases["receiver"])
            messages[i, j] = silu(weights["message"] @ inner + biases["message"])
    changes = []
    for i in range(count):
        received = sum(messages[i, j] for j in range(count) if j != i)
        both = np.concatenate([nodes[i], received])
        inner = silu(weights["hidden"] @ both + biases["hidden"])
        changes.append(weights["update"] @ inner + biases["update"])
    return np.stack(changes), messages


@pytest.mark.fast
def test_message_passing_follows_its_formula():
    network = draw_network("MessagePassing", 0, dtype=np.float64)
    inputs = draw_inputs(0, 4, dtype=np.float64)
    expected, _ = message_passing(network, inputs.nodes, inputs.edges)
    backwards, _ = message_passing(network, inputs.nodes, inputs.edges.swapaxes(0, 1))
    change = jax.jit(apply)(network, inputs, complete(4))
    assert relative(change, expected) < 1e-13
    assert relative(change, backwards) > 1e-3


def test_egnn_follows_its_formula():
    network = draw_network("EGNN", 0, dtype=np.float64, layers=1)
    x, v, nodes, edges = inputs = draw_inputs(0, 4, dtype=np.float64)
    speed = np.linalg.norm(v, axis=1, keepdims=True)
    hidden = network.embed(jnp.concatenate([nodes, speed], axis=1))
    difference = x[:, None] - x[None, :]
    squared = np.sum(difference**2, axis=-1, keepdims=True)
    seen = np.concatenate([squared, edges], axis=-1)
    with promotion(np.float64):
        normed = network.norms[0](hidden)
    _, messages = message_passing(network.rounds[0], np.asarray(normed), seen)
    gates = np.asarray(network.gates[0](normed))
    moved = []
    for i in range(4):
        pulls = [
            difference[i, j] * np.asarray(network.pulls[0](jnp.asarray(messages[i, j])))
            for j in range(4)
            if j != i
        ]
        moved.append(x[i] + gates[i] * v[i] + np.mean(pulls, axis=0))
    with promotion(np.float64):
        assert relative(jax.jit(apply)(network, inputs, complete(4)), np.stack(moved)) < 1e-13


def test_layerwise_gnn_refuses_a_frame_that_is_no_function(unhooked):
    with pytest.raises(ValueError, match="frame must be a function that returns a Frame"):
        nn.LayerwiseGNN(3, 1, 1, frame="robust", rngs=nnx.Rngs(0))
