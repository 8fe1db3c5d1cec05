import functools

import chex
import flax.linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import symjax_frames as sf
from symjax_frames import nn
from tests.helpers.networks import apply, complete, draw_inputs, draw_network, pairs

BUILDERS = {
    "MLP": lambda rngs: nn.MLP([2, 4, 3], rngs=rngs),
    "MessagePassing": lambda rngs: nn.MessagePassing(2, 1, 4, rngs=rngs),
    "PointGNN": lambda rngs: nn.PointGNN(3, 2, 1, hidden=4, layers=1, rngs=rngs),
    "EGNN": lambda rngs: nn.EGNN(2, 1, hidden=4, layers=1, rngs=rngs),
    "LayerwiseGNN": lambda rngs: nn.LayerwiseGNN(
        3, 2, 1, channels=4, hidden=4, layers=1, rngs=rngs
    ),
}


def test_mlp_follows_its_formula():
    network = nn.MLP([2, 4, 3], activation=jnp.tanh, rngs=nnx.Rngs(0))
    x = jnp.asarray(np.random.default_rng(0).normal(size=(5, 2)).astype(np.float32))
    first, last = (np.asarray(linear.kernel[...]) for linear in network.linears)
    np.testing.assert_allclose(network(x), np.tanh(x @ first) @ last, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", BUILDERS)
def test_parameters_come_from_rngs_alone(name):
    build = BUILDERS[name]
    draw = jax.jit(lambda key: jax.tree.leaves(build(nnx.Rngs(key))))
    first, again, other = (draw(jax.random.key(seed)) for seed in (0, 0, 1))
    chex.assert_trees_all_equal(first, again)
    assert any(not np.array_equal(a, b) for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize("graph_mode", [True, False])
def test_modules_are_pytrees_for_plain_jax(graph_mode):
    with nnx.set_graph_mode(graph_mode), nnx.set_graph_updates(graph_mode):
        network = draw_network("PointGNN", 0, layers=1)
        inputs = jax.tree.map(jnp.asarray, draw_inputs(0))

        @jax.jit
        def loss(network):
            return jnp.sum(apply(network, inputs, complete(4)) ** 2)

        slope = jax.jit(jax.grad(loss))(network)
        stepped = jax.tree.map(lambda p, g: p - 1e-4 * g, network, slope)
        assert isinstance(stepped, nn.PointGNN)
        assert loss(stepped) < loss(network)

        definition, state = nnx.split(network)
        by_state = jax.jit(jax.grad(lambda state: loss(nnx.merge(definition, state))))(state)
        leaves = jax.tree.leaves(by_state), jax.tree.leaves(slope)
        chex.assert_trees_all_close(*leaves, rtol=1e-4, atol=1e-4)


class LinenMLP(flax.linen.Module):
    @flax.linen.compact
    def __call__(self, x):
        return flax.linen.Dense(3)(jnp.tanh(flax.linen.Dense(8)(x)))


def test_functions_nnx_modules_and_linen_modules_average_alike():
    cloud = draw_inputs(0, 5).points
    turn = np.array([[0.6, -0.8, 0], [0.8, 0.6, 0], [0, 0, -1]], np.float32)
    shift = np.array([[1.0, -2.0, 0.5]], np.float32)
    linen = LinenMLP()
    models = {
        "plain": lambda x: jnp.sin(x + 1),
        "nnx": nn.MLP([3, 8, 3], rngs=nnx.Rngs(0)),
        "linen": functools.partial(linen.apply, jax.jit(linen.init)(jax.random.key(0), cloud)),
    }
    moves = {"in_actions": sf.points, "out_actions": sf.points}

    @jax.jit
    @jax.vmap
    def run(x):
        averages = {n: sf.frame_average(fn, sf.pca_frame, **moves) for n, fn in models.items()}
        return {name: (averages[name](x), fn(x)) for name, fn in models.items()}

    outputs = jax.device_get(run(np.stack([cloud, cloud @ turn + shift])))
    for name, pair in outputs.items():
        averaged, alone = (np.max(np.abs(y[1] - (y[0] @ turn + shift))) for y in pair)
        assert averaged < 1e-4, name
        assert alone > 1e-2, name


RNGS = nnx.Rngs(0)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: nn.MLP([3], rngs=RNGS), "sizes must name at least the input and the output"),
        (lambda: nn.MLP([3, 0, 1], rngs=RNGS), r"sizes\[1\] must be a positive integer, got 0"),
        (lambda: nn.MessagePassing(0, 1, 8, rngs=RNGS), "node_features must be a positive"),
        (lambda: nn.MessagePassing(1, -1, 8, rngs=RNGS), "edge_features must be a non-negative"),
        (lambda: nn.MessagePassing(1, 1, 0, rngs=RNGS), "hidden must be a positive"),
        (lambda: nn.PointGNN(0, 1, 1, rngs=RNGS), "dim must be a positive"),
        (lambda: nn.PointGNN(3, -1, 1, rngs=RNGS), "node_features must be a non-negative"),
        (lambda: nn.PointGNN(3, 1, 0.5, rngs=RNGS), "edge_features must be a non-negative"),
        (lambda: nn.PointGNN(3, 1, 1, hidden=0, rngs=RNGS), "hidden must be a positive"),
        (lambda: nn.PointGNN(3, 1, 1, layers=0, rngs=RNGS), "layers must be a positive"),
        (lambda: nn.PointGNN(3, 1, 1, softening=0, rngs=RNGS), "softening must be a positive"),
        (lambda: nn.EGNN(-1, 1, rngs=RNGS), "node_features must be a non-negative"),
        (lambda: nn.EGNN(1, -1, rngs=RNGS), "edge_features must be a non-negative"),
        (lambda: nn.EGNN(1, 1, hidden=0, rngs=RNGS), "hidden must be a positive"),
        (lambda: nn.EGNN(1, 1, layers=True, rngs=RNGS), "layers must be a positive"),
        (lambda: nn.LayerwiseGNN(0, 1, 1, rngs=RNGS), "dim must be a positive"),
        (lambda: nn.LayerwiseGNN(3, -1, 1, rngs=RNGS), "node_features must be a non-negative"),
        (lambda: nn.LayerwiseGNN(3, 1, -1, rngs=RNGS), "edge_features must be a non-negative"),
        (lambda: nn.LayerwiseGNN(3, 1, 1, channels=0, rngs=RNGS), "channels must be a positive"),
        (lambda: nn.LayerwiseGNN(3, 1, 1, hidden=0, rngs=RNGS), "hidden must be a positive"),
        (lambda: nn.LayerwiseGNN(3, 1, 1, layers=0, rngs=RNGS), "layers must be a positive"),
        (lambda: nn.LayerwiseGNN(3, 1, 1, softening=0, rngs=RNGS), "softening must be a positive"),
        (
            lambda: nn.LayerwiseGNN(3, 1, 1, group="O", rngs=RNGS),
            "group must be 'E' or 'SE', got 'O'",
        ),
    ],
)
def test_constructors_name_what_is_wrong(build, message, unhooked):
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize("name", ["PointGNN", "EGNN", "LayerwiseGNN"])
def test_shapes_that_do_not_fit_are_named(name, unhooked):
    network, inputs = draw_network(name, 0), draw_inputs(0)

    def call(graph=None, **changed):
        graph = complete(4) if graph is None else graph
        return jax.eval_shape(lambda: network(*inputs._replace(**changed), graph))

    assert call().shape == (4, 3)
    # One entry would broadcast, and silently make an empty graph.
    with pytest.raises(ValueError, match=r"points must have shape \(1, 3\)"):
        call(complete(1))
    with pytest.raises(ValueError, match="velocities must have shape"):
        call(velocities=inputs.velocities[:1])
    with pytest.raises(ValueError, match=r"nodes must have shape \(4, 2\)"):
        call(nodes=inputs.nodes[:, :1])
    with pytest.raises(ValueError, match=r"edges must have shape \(4, 4, 1\) .* got \(1, 4, 1\)"):
        call(edges=inputs.edges[:1])
    listed = nn.EdgeList(*pairs(4), np.ones(4, bool))
    wanted = (
        "graph must be one CompleteGraph" if name == "LayerwiseGNN" else "edges must have shape"
    )
    with pytest.raises(ValueError, match=wanted):
        call(listed)


@pytest.mark.parametrize("name", ["PointGNN", "EGNN", "LayerwiseGNN"])
def test_nodes_and_edges_may_have_no_features(name):
    build = {
        "PointGNN": functools.partial(nn.PointGNN, 3),
        "EGNN": nn.EGNN,
        "LayerwiseGNN": functools.partial(nn.LayerwiseGNN, 3, channels=4),
    }[name]

    def run(points, velocities):
        network = build(0, 0, hidden=4, layers=1, rngs=nnx.Rngs(0))
        nodes, edges = jnp.zeros((4, 0), points.dtype), jnp.zeros((4, 4, 0), points.dtype)
        return network(points, velocities, nodes, edges, complete(4))

    assert jax.eval_shape(run, *draw_inputs(0)[:2]).shape == (4, 3)
