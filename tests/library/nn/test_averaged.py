"""Averages that are modules: what trains, what is random, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import symjax_frames as sf
from symjax_frames import nn
from tests.helpers.networks import relative

# A small group compiles three times as fast as a frame; frames have tests of their own below.
SOURCE = sf.cyclic(4)
MOVES = {"in_actions": sf.vectors, "out_actions": sf.vectors}
POINTS = jnp.asarray(np.random.default_rng(0).normal(size=(4, 2)), jnp.float32)
TARGET = 0.5 * POINTS
EPS = 16 * np.finfo(np.float32).eps  # sums of a few terms


class Net(nnx.Module):
    """One map of coordinates, which no rotation leaves alone, with dropout."""

    def __init__(self, rate=0.0):
        # Numbers of NumPy, since initialisers take longer to compile than all the rest.
        draw = np.random.default_rng(1).normal
        self.kernel = nnx.Param(jnp.asarray(draw(size=(2, 2)), jnp.float32))
        self.dropout = nnx.Dropout(rate, rngs=nnx.Rngs(0))

    def __call__(self, x):
        return self.dropout(jnp.tanh(x @ self.kernel[...] + 1))


def average(rate=0.0, source=SOURCE, **options):
    return nn.averaged(Net(rate), source, **{**MOVES, **options})


def draws(model):
    """How often the dropout of a model has drawn a mask."""
    return int(model.module.dropout.rngs.count[...])


@nnx.jit
def run(model, x):
    return model(x)


@nnx.jit
def plain(module, x):
    return sf.group_average(lambda x: module(x), SOURCE, **MOVES)(x)


def loss(model, x=POINTS):
    return jnp.mean((model(x) - TARGET) ** 2)


@pytest.fixture(params=["graph", "tree"])
def mode(request):
    """NNX with shared references, and with modules as plain trees."""
    graph = request.param == "graph"
    with nnx.set_graph_mode(graph), nnx.set_graph_updates(graph):
        yield request.param


@pytest.fixture
def turn():
    return jax.tree.map(lambda leaf: leaf[1], SOURCE.cast(jnp.float32))


def test_the_average_is_that_of_the_transforms():
    model = average()
    np.testing.assert_array_equal(run(model, POINTS), plain(model.module, POINTS))
    assert relative(run(model, POINTS), model.module(POINTS)) > 0.1


def test_frames_are_made_of_the_arguments_that_are_named():
    class Second(nnx.Module):
        def __call__(self, charges, x):
            return jnp.tanh(x + 1) * charges[:, None]

    options = {"in_actions": (None, sf.points), "out_actions": sf.points, "frame_argnums": 1}
    model = nn.averaged(Second(), sf.pca_frame, **options)
    expected = sf.frame_average(Second(), sf.pca_frame, **options)
    charges = jnp.arange(4.0, dtype=jnp.float32)
    both = jax.jit(lambda *args: (model(*args), expected(*args)))(charges, POINTS)
    np.testing.assert_array_equal(*both)


def test_gradients_reach_the_parameters():
    module = Net()
    module.dropout.rngs = nnx.data(None)  # tree mode would take the gradient by its keys too
    model = nn.averaged(module, SOURCE, **MOVES)
    closed = sf.group_average(module, SOURCE, **MOVES)
    gradient = jax.jit(jax.grad(loss))(model)
    wanted = jax.jit(jax.grad(lambda module: loss(sf.group_average(module, SOURCE, **MOVES))))
    np.testing.assert_array_equal(gradient.module.kernel, wanted(module).kernel)
    assert np.all(gradient.module.kernel[...])
    # What closes over the module has no gradient, and says nothing.
    lost = jax.jit(jax.grad(lambda module: loss(closed)))(module)
    assert not np.any(lost.kernel[...])


@nnx.jit
def step(model, optimizer):
    definition, params, rest = nnx.split(model, nnx.Param, ...)

    def objective(params):
        copy = nnx.merge(definition, params, rest, copy=True)
        return loss(copy), nnx.state(copy, nnx.RngState)

    (value, streams), gradient = jax.value_and_grad(objective, has_aux=True)(params)
    optimizer.update(model, gradient)
    nnx.update(model, streams)
    return value


def test_training_with_dropout_lowers_the_loss(mode):
    model = average(0.1)
    optimizer = nnx.Optimizer(model, optax.sgd(0.1), wrt=nnx.Param)
    model.eval()
    before = loss(lambda x: run(model, x))
    stale = jax.jit(lambda x: model(x))
    first = stale(POINTS)
    model.train()
    losses = [float(step(model, optimizer)) for _ in range(20)]
    model.eval()
    assert losses[-1] < losses[0] and loss(lambda x: run(model, x)) < 0.9 * before
    # A compiled closure keeps the weights that it was compiled with.
    np.testing.assert_array_equal(stale(POINTS), first)
    assert relative(run(model, POINTS), first) > 0.1


def test_dropout_draws_one_mask_for_all_elements_and_another_in_each_call(mode, turn):
    model = average(0.5)
    still, moved = nnx.clone(model), nnx.clone(model)
    output = run(model, POINTS)
    np.testing.assert_array_equal(run(still, POINTS), output)
    # With one mask the network is one function, and its average equivariant.
    turned = run(moved, sf.vectors.push(turn, POINTS))
    assert relative(turned, sf.vectors.push(turn, output)) < EPS
    again = run(moved, sf.vectors.push(turn, POINTS))
    assert relative(again, sf.vectors.push(turn, output)) > 0.1
    assert (draws(model), draws(moved)) == (1, 2)


def test_evaluation_has_no_mask_and_may_be_closed_over(mode):
    model = average(0.5)
    model.eval()
    output = jax.jit(lambda x: model(x))(POINTS)
    np.testing.assert_array_equal(output, plain(Net(), POINTS))
    assert draws(model) == 0
    model.train()
    with pytest.raises(ValueError, match="'default' cannot go on.*nnx.jit.*eval"):
        jax.jit(lambda x: model(x))(POINTS)


def test_clouds_of_a_batch_share_the_mask(mode):
    model = average(0.5)
    batch = nnx.jit(nnx.vmap(lambda model, x: model(x), in_axes=(None, 0)))
    first, second = batch(model, jnp.stack([POINTS, POINTS]))
    np.testing.assert_array_equal(first, second)
    assert draws(model) == 1
    assert relative(batch(model, jnp.stack([POINTS, POINTS]))[0], first) > 0.1


def test_batches_of_elements_share_the_mask():
    whole, parts = average(0.5), average(0.5, batch_size=2)
    assert relative(run(parts, POINTS), run(whole, POINTS)) < EPS
    assert draws(parts) == draws(whole) == 1


def test_streams_that_are_given_move_on():
    module = nnx.Dropout(0.5)
    model = nn.averaged(module, SOURCE, **MOVES)
    by_keyword = nnx.jit(lambda model, x, rngs: model(x, rngs=rngs))
    rngs = nnx.Rngs(0)
    first, second = (by_keyword(model, POINTS, rngs) for _ in range(2))
    assert relative(first, second) > 0.1 and int(rngs.default.count[...]) == 2


class Counting(nnx.Module):
    """Counts its calls in a variable, in an attribute, or in a new attribute."""

    def __init__(self, kind):
        self.kind, self.calls = kind, 0
        self.counter = nnx.Variable(jnp.zeros((), jnp.int32))

    def __call__(self, x):
        if self.kind == "variable":
            self.counter[...] += 1
        elif self.kind == "attribute":
            self.calls += 1
        elif self.kind == "new":
            self.seen = nnx.Intermediate(x)
        return x


@pytest.mark.parametrize(
    ("kind", "named"),
    [
        ("variable", r"counter \(Variable\)"),
        ("attribute", "attributes that are no arrays"),
        ("new", r"seen \(Intermediate\)"),
    ],
)
def test_state_that_a_call_would_change_is_refused(kind, named, mode):
    model = nn.averaged(Counting(kind), SOURCE, **MOVES)
    with pytest.raises(ValueError, match=rf"Counting changes its state.*{named}.*LayerNorm"):
        jax.eval_shape(lambda x: model(x), POINTS)
    assert model.module.calls == 0 and model.module.counter[...] == 0
    model.module.kind = "none"
    assert jax.eval_shape(lambda x: model(x), POINTS).shape == (4, 2)


def test_running_statistics_are_refused_in_training_and_used_in_evaluation():
    module = jax.eval_shape(lambda: nnx.BatchNorm(2, rngs=nnx.Rngs(0)))
    module = jax.tree.map(lambda leaf: jnp.ones(leaf.shape, leaf.dtype), module)
    model = nn.averaged(module, SOURCE, **MOVES)
    with pytest.raises(ValueError, match=r"BatchNorm.*mean \(BatchStat\), var \(BatchStat\)"):
        jax.eval_shape(lambda x: model(x), POINTS)
    model.eval()
    assert jax.eval_shape(lambda x: model(x), POINTS).shape == (4, 2)


def test_the_transforms_say_what_a_stateful_module_needs():
    """Also as an argument: a copy of it would draw the same mask in every call, unseen."""
    module = Net(0.5)
    closed = sf.group_average(module, SOURCE, **MOVES)
    options = {"in_actions": (None, sf.vectors), "out_actions": sf.vectors}
    given = sf.group_average(lambda module, x: module(x), SOURCE, **options)
    for call in (lambda: closed(POINTS), lambda: given(module, POINTS)):
        with pytest.raises(ValueError, match="changes a state.*nn.averaged"):
            jax.eval_shape(call)
    module.eval()
    np.testing.assert_array_equal(jax.jit(given)(module, POINTS), plain(module, POINTS))


def test_split_and_merge_give_the_same_model(mode):
    options = {"in_actions": [sf.vectors], "out_actions": sf.vectors}
    model, other = average(0.5, **options), average(0.5, **options)
    definition, state = nnx.split(model)
    # Models that are made alike have one structure, whatever containers the actions came in.
    assert nnx.graphdef(other) == definition and hash(nnx.graphdef(other)) == hash(definition)
    merged = nnx.merge(definition, jax.tree.map(jnp.copy, state))
    np.testing.assert_array_equal(run(merged, POINTS), run(model, POINTS))


def test_samples_in_training_and_all_elements_in_evaluation():
    model = average(num_samples=2, rngs=nnx.Rngs(7))
    key = nnx.Rngs(7)["frame"].fork()()
    sampled = sf.sampled_average(model.module, SOURCE, **MOVES, num_samples=2)
    first, second = run(model, POINTS), run(model, POINTS)
    np.testing.assert_array_equal(first, jax.jit(sampled)(key, POINTS))
    assert relative(first, second) > 0.01
    model.eval()
    np.testing.assert_array_equal(run(model, POINTS), plain(model.module, POINTS))


def test_groups_and_rules_are_sources():
    half, expected = sf.cyclic(2), plain(Net(), POINTS)
    module = average(source=half)
    quotient = nn.averaged(module, SOURCE, already=half, **MOVES)
    rule = average(source=sf.quadrature(sf.special_orthogonal(2), 3, jnp.float32))
    assert relative(run(quotient, POINTS), expected) < EPS
    assert relative(run(rule, POINTS), expected) < EPS
    assert relative(run(module, POINTS), expected) > 0.01


def test_an_infinite_group_is_sampled_and_not_summed():
    source = sf.orthogonal(2)
    model = average(source=source, num_samples=2, rngs=nnx.Rngs(0))
    assert nnx.eval_shape(lambda model: model(POINTS), model).shape == (4, 2)
    model.eval()
    with pytest.raises(ValueError, match=r"O\(2\) is infinite.*train\(\).*quadrature"):
        model(POINTS)
    with pytest.raises(ValueError, match="infinite"):
        average(source=source)


def test_a_frame_that_is_a_module_is_trained():
    class Pose(nnx.Module):
        def __init__(self):
            self.angle = nnx.Param(jnp.float32(0.3))

        def __call__(self, x):
            # An equivariant frame times a fixed turn.
            frame = sf.canonical_frame(x)
            cos, sin = jnp.cos(self.angle[...]), jnp.sin(self.angle[...])
            turn = jnp.stack([cos, -sin, sin, cos]).reshape(2, 2)
            linear = jnp.einsum("fij,jk->fik", frame.elements.linear, turn)
            return sf.Frame(frame.elements._replace(linear=linear), frame.weights)

    model = average(source=Pose(), in_actions=sf.points, out_actions=sf.points)
    gradient = nnx.jit(nnx.grad(loss))(model)
    assert abs(float(gradient.source.angle[...])) > 1e-4


@pytest.mark.parametrize(
    ("module", "options", "message"),
    [
        (jnp.tanh, {}, "module must be an nnx.Module.*frame_average"),
        (Net, {}, "module must be an nnx.Module"),
        (Net(), {"num_samples": 2}, "num_samples and rngs must be given together"),
        (Net(), {"rngs": nnx.Rngs(0)}, "num_samples and rngs must be given together"),
        (Net(), {"num_samples": 0, "rngs": nnx.Rngs(0)}, "num_samples must be a positive"),
        (Net(), {"in_actions": "points"}, "in_actions must be an Action or None.*'points'"),
        (Net(), {"batch_size": 0}, "batch_size must be a positive integer, got 0"),
    ],
)
def test_mistakes_are_said_at_once(unhooked, module, options, message):
    with pytest.raises(ValueError, match=message):
        nn.averaged(module, SOURCE, **{**MOVES, **options})


def test_the_frame_of_one_input_is_no_source(unhooked):
    one = sf.Frame(sf.Isometry(np.eye(2)[None], np.zeros((1, 2))), np.ones(1))
    with pytest.raises(ValueError, match="source must be a function that returns a Frame"):
        average(source=one)
