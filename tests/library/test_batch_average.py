import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import symjax_frames as sf
from tests.helpers.clouds import padded

LAW = {
    "in_actions": (None, sf.points, None),
    "out_actions": (None, sf.vectors),
    "frame_argnums": (1, 2),
}
AXES = (None, 0, 0)
# Sums of a few dozen terms of order one in another order, differentiated up to twice.
EXACT = 1000 * np.finfo(float).eps
PARAMS = np.random.default_rng(3).normal(size=(2, 4))


def backbone(params, x, mask):
    """An energy and a vector of a masked cloud, neither of them odd or even."""
    hidden = jnp.where(mask[:, None], jnp.sin(x @ params + 1), 0)
    pooled = jnp.sum(hidden, axis=0)
    return jnp.sum(jnp.tanh(pooled - 0.5)), jnp.cos(pooled[:2]) + pooled[2:]


def smooth(t):
    """From 0 to 1 with two derivatives."""
    return t**3 * (10 - 15 * t + 6 * t**2)


def frame(x, mask, step=smooth):
    """The directions of the farthest points, from the origin, with weights of two derivatives."""
    squares = jnp.sum(x**2, axis=1)
    best = jax.nn.logsumexp(jnp.where(mask, 20 * squares, -jnp.inf)) / 20
    t = jnp.clip(2 * squares / best - 1, 0, 1)
    weights = jnp.where(mask, step(t), 0)
    axes = x / jnp.sqrt(jnp.where(mask, squares, 1))[:, None]
    linear = jnp.stack([axes, axes[:, ::-1] * jnp.array([[-1.0, 1.0]])], axis=-1)
    return sf.Frame(sf.Isometry(linear, jnp.zeros(x.shape)), weights / jnp.sum(weights))


def energies(average):
    """A number of parameters and clouds that has second derivatives everywhere, and what it is of."""

    def total(params, x, mask):
        energy, vector = average(params, x, mask)
        return jnp.sum(jnp.sin(energy)) + jnp.sum(vector**3), (energy, vector)

    return total


@pytest.fixture(scope="module")
def clouds():
    """Of 1 to 5 elements: a single point, a square, and clouds without ties."""
    draws = np.random.default_rng(0)
    known = {"point": np.ones((1, 2)), "square": np.array([[1.0, 0], [0, 1], [-1, 0], [0, -1]])}
    return padded(known | {f"{n}": draws.normal(size=(5, 2)) for n in range(4)}, float, 5)


def dense(params, x, mask):
    return jax.vmap(sf.frame_average(backbone, frame, **LAW), AXES)(params, x, mask)


def packed_of(capacity, frame=frame, fn=backbone):
    return sf.batch_average(fn, frame, in_axes=AXES, capacity=capacity, **LAW)


def test_it_equals_the_dense_average_with_two_derivatives(clouds):
    x, mask = clouds
    needed = sf.batch_capacity(frame, x, mask)
    assert len(x) < needed < 5 * len(x)
    direction = jnp.asarray(np.random.default_rng(1).normal(size=x.shape))

    def derivatives(average):
        slopes = jax.grad(energies(average), argnums=(0, 1), has_aux=True)

        @jax.jit
        def run(params, x, mask):
            along = lambda x: slopes(params, x, mask)
            return jax.jvp(along, (x,), (direction,), has_aux=True)

        return run(PARAMS, x, mask)

    expected = derivatives(dense)
    # More rounds within a checkpoint, and all elements at once.
    for average in (jax.checkpoint(packed_of(needed - 1)), packed_of(5 * needed)):
        for one, other in zip(*map(jax.tree.leaves, (expected, derivatives(average))), strict=True):
            np.testing.assert_allclose(other, one, rtol=0, atol=EXACT * np.abs(one).max())
    # What has a weight matters: of the first element alone, nothing is right.
    first = lambda x, mask: frame(x, mask)._replace(weights=jnp.eye(5)[0])
    wrong = jax.jit(packed_of(2 * len(x), first))(PARAMS, x, mask)
    assert np.abs(wrong[0] - expected[2][0]).max() > 1e-2


def test_derivatives_have_no_jump_where_an_element_loses_its_weight():
    """A point moves inwards until it gives no axis any more: twice with a slope of its energy."""
    rest = np.array([[0, 1.0], [0.2, -0.9], [-0.4, 0.1], [0.8, -0.5]])
    toward = np.array([1.0, 0.4])
    mask = np.ones((1, 5), bool)

    def cloud(s):
        return jnp.concatenate([s * jnp.asarray(toward)[None], jnp.asarray(rest)])[None]

    def energy(average, s):
        return average(PARAMS, cloud(s), mask)[0][0]

    def slopes(average):
        slope = jax.grad(functools.partial(energy, average))
        both = jax.vmap(lambda s: jax.jvp(slope, (s,), (jnp.ones_like(s),)))
        return np.asarray(jax.jit(both)(s))

    s = np.linspace(0.4, 1.6, 601)
    counts = jax.jit(jax.vmap(lambda s: jnp.sum(frame(cloud(s)[0], mask[0]).weights > 0)))(s)
    exits = np.flatnonzero(np.diff(counts))
    assert len(exits) > 1
    expected, found = slopes(dense), slopes(packed_of(4))
    np.testing.assert_allclose(found, expected, atol=EXACT * np.abs(expected).max())
    # From one side of an exit to the other the second derivative moves on as it does elsewhere.
    steps = np.abs(np.diff(found[1]))
    assert steps[exits].max() < 2 * np.delete(steps, exits).max()
    # Weights that leave zero with a slope are another matter.
    steep = functools.partial(frame, step=lambda t: t)
    steps = np.abs(np.diff(slopes(packed_of(4, steep))[1]))
    assert steps[exits].max() > 2 * np.delete(steps, exits).max()


def test_the_variance_is_that_of_the_dense_average(clouds):
    x, mask = clouds
    law = LAW | {"with_variance": True}
    far = lambda *args: jax.tree.map(lambda leaf: leaf + 1e6, backbone(*args))
    whole = jax.vmap(sf.frame_average(backbone, frame, **law), AXES)
    expected = jax.jit(whole)(PARAMS, x, mask)
    for capacity in (6, 5 * len(x)):
        average = sf.batch_average(backbone, frame, in_axes=AXES, capacity=capacity, **law)
        found = jax.jit(average)(PARAMS, x, mask)
        for one, other in zip(*map(jax.tree.leaves, (expected, found)), strict=True):
            np.testing.assert_allclose(other, one, atol=EXACT)
        assert np.all(found[1][0] >= 0) and np.ptp(found[1][0]) > 1e-2
    # Nothing cancels where the mean is a million: squares of the terms would leave no digits. The
    # terms are rounded to 1e-10, which their distances of order one turn into a few of that.
    average = sf.batch_average(far, frame, in_axes=AXES, capacity=6, **law)
    variance = jax.jit(average)(PARAMS, x, mask)[1][0]
    np.testing.assert_allclose(variance, expected[1][0], atol=1e-8)


def test_the_variance_holds_where_weights_cancel_or_are_nearly_zero():
    # Of one pair a round: the first two add up to zero, and one over the last is no number of 16 bits.
    weights = np.array([1, -1, 0, 0.75, 0.25, 6e-8])
    turns = sf.signs(3).cast(jnp.float32)
    elements = jax.tree.map(lambda leaf: leaf[: len(weights)], turns)
    law = {"in_actions": sf.vectors, "out_actions": None, "with_variance": True}
    average = sf.batch_average(
        lambda x: jnp.sum(jnp.exp(x)),
        lambda x: sf.Frame(elements, jnp.asarray(weights, jnp.float16)),
        capacity=1,
        **law,
    )
    x = np.array([0.5, 1.0, 2.0], np.float32)
    values = np.exp(x * np.diagonal(elements.linear, axis1=1, axis2=2)).sum(axis=1)
    expected = weights @ (values - (mean := weights @ values)) ** 2
    found = jax.jit(average)(x[None, None])
    np.testing.assert_allclose(np.ravel(found), [mean, expected], rtol=1e-5)


def count_evaluations(average, *args):
    """How often the function is evaluated when the compiled average runs."""
    calls = []

    def counted(params, x, mask):
        jax.debug.callback(lambda _: calls.append(None), x[0, 0] + params[0, 0])
        return backbone(params, x, mask)

    jax.block_until_ready(jax.jit(average(counted))(*args))
    jax.effects_barrier()
    return len(calls)


def test_no_more_pairs_are_evaluated_than_rounds_need(clouds):
    x, mask = clouds
    needed = sf.batch_capacity(frame, x, mask)

    def evaluations(capacity, wrap=lambda average: average, params=PARAMS):
        average = lambda fn: wrap(packed_of(capacity, fn=fn))
        return count_evaluations(average, params, x, mask)

    assert evaluations(needed) == needed
    assert evaluations(needed + 2) == needed + 2
    # Three are over, and a later round has a quarter of the first.
    assert evaluations(needed - 3) == needed - 3 + 2 * (rounds := -(-3 // 2)) == needed + 1, rounds
    # Under a vmap over parameters what decides is not batched: one side of the conditional runs.
    seeds = lambda average: jax.vmap(average, (0, None, None))
    two = np.stack([PARAMS, 2 * PARAMS])
    assert evaluations(needed, seeds, two) == 2 * needed
    # Under one over clouds it is, and all rounds are evaluated.
    inputs = lambda average: (
        lambda params, x, mask: jax.vmap(average, (None, 0, 0))(params, x[:, None], mask[:, None])
    )
    assert evaluations(1, inputs) == 5 * len(x)


def test_capacity_is_what_the_batches_of_most_pairs_need(clouds):
    x, mask = clouds
    weights = jax.jit(jax.vmap(lambda *cloud: frame(*cloud).weights))(x, mask)
    counts = np.sort(np.sum(np.asarray(weights) > 0, axis=1))
    assert sf.batch_capacity(frame, x, mask) == counts.sum()
    assert sf.batch_capacity(frame, x, mask, batch_size=2) == counts[-2:].sum() < counts.sum()
    moved = np.moveaxis(x, 0, 1)
    assert sf.batch_capacity(frame, moved, mask, in_axes=(1, 0)) == counts.sum()
    assert sf.batch_capacity(frame, x, mask, batch_size=100) == counts.sum()


def test_a_packed_batch_of_graphs_is_one_example(clouds):
    x, mask = clouds
    nodes, real = x.reshape(3, 10, 2), np.asarray(mask).reshape(3, 10)
    segment_ids = jnp.repeat(jnp.arange(2), 5)

    def totals(nodes, real):
        hidden = jnp.where(real[:, None], jnp.tanh(1 + nodes @ PARAMS), 0)
        return jax.ops.segment_sum(jnp.sum(hidden, axis=1), segment_ids, 2)

    def both(nodes, real):
        return sf.frames.packed_frame(frame, nodes, segment_ids, 2, real, max_points=5)

    law = {
        "in_actions": (sf.packed(sf.points, segment_ids), None),
        "out_actions": sf.packed(None, jnp.arange(2)),
        "frame_argnums": (0, 1),
    }
    expected = jax.jit(jax.vmap(sf.frame_average(totals, both, **law)))(nodes, real)
    needed = sf.batch_capacity(both, nodes, real)
    assert needed < 5 * 3
    average = jax.jit(sf.batch_average(totals, both, capacity=needed // 2, **law))
    np.testing.assert_allclose(average(nodes, real), expected, rtol=EXACT)


def test_axes_keywords_and_quadratures_are_those_of_vmap(clouds):
    x, mask = clouds
    fn = lambda x, scale, _, *, shift: {"y": jnp.sum(jnp.sin(x["cloud"] @ scale + shift), axis=0)}
    law = {"in_actions": (sf.vectors, None, None), "out_actions": {"y": sf.vectors}}
    of_cloud = lambda x: frame(x["cloud"] + 0.1, jnp.ones(5, bool))
    inputs = {"cloud": np.moveaxis(x, 0, -1)}, PARAMS[:, :2]
    shift = np.arange(float(len(x)))
    whole = jax.vmap(
        lambda x, scale, shift: sf.frame_average(fn, of_cloud, **law)(x, scale, None, shift=shift),
        ({"cloud": 2}, None, 0),
    )
    batched = sf.batch_average(
        fn, of_cloud, in_axes=({"cloud": -1}, None, (0, None)), capacity=20, **law
    )
    average = jax.jit(lambda x, scale, shift: batched(x, scale, (None, 3), shift=shift)["y"])
    expected = jax.jit(whole)(*inputs, shift)["y"]
    np.testing.assert_allclose(average(*inputs, shift), expected, atol=EXACT)
    rule = sf.quadrature(sf.orthogonal(2), 1)
    energy = lambda x: jnp.sum(jnp.tanh(x + 1))
    law = {"in_actions": sf.vectors, "out_actions": None}
    averages = [sf.batch_average(energy, rule, capacity=3, **law)]
    averages += [jax.vmap(sf.frame_average(energy, rule, **law))]
    result, same = jax.jit(lambda x: [average(x) for average in averages])(x)
    np.testing.assert_allclose(result, same, rtol=EXACT)


def test_an_example_without_weights_has_the_average_zero(clouds):
    x, mask = clouds

    def some(x, mask):
        made = frame(x, mask)
        return made._replace(weights=jnp.where(x[0, 0] > x[0, 1], made.weights, 0))

    def total(x):
        energy = packed_of(5, some)(PARAMS, x, mask)[0]
        return jnp.sum(energy**2), energy

    slope, energy = jax.jit(jax.grad(total, has_aux=True))(x)
    assert np.all(np.isfinite(energy)) and np.all(np.isfinite(slope))
    assert np.array_equal(energy == 0, x[:, 0, 0] <= x[:, 0, 1])
    turns = sf.Isometry(jnp.broadcast_to(jnp.eye(2), (5, 2, 2)), jnp.zeros((5, 2)))
    nothing = packed_of(5, lambda x, mask: sf.Frame(turns, jnp.zeros(5)))
    assert np.all(np.asarray(jax.jit(nothing)(PARAMS, x, mask)[0]) == 0)
    # Where values are known, that is an error, as of one example.
    first = jnp.eye(5)[0]
    one = lambda x, mask: sf.Frame(turns, jnp.where(x[0, 0] > x[0, 1], first, 0))
    with pytest.raises(ValueError, match="must sum to 1"):
        packed_of(5, one)(PARAMS, x, mask)


def test_bad_arguments_are_refused(clouds):
    x, mask = clouds
    for capacity in (0, -1, True):
        with pytest.raises(ValueError, match="capacity must be a positive integer"):
            packed_of(capacity)
    # Checked at run time by the types of the signature, in these tests.
    with pytest.raises((ValueError, TypeError), match="capacity"):
        packed_of(1.5)
    refused = {
        "in_axes must be integers or None": (None, 0, True),
        "must have an entry for each of the 3": (None, 0),
        "does not fit the arguments": (None, {"a": 0}, 0),
        "none that has an axis": None,
        "has no axis 4": (None, 4, 0),
        "one number of examples": (None, 1, 0),
    }
    for message, in_axes in refused.items():
        with pytest.raises(ValueError, match=message):
            sf.batch_average(backbone, frame, in_axes=in_axes, **LAW)(PARAMS, x, mask)
    # As in a program that is exported for batches of any size.
    (many,) = jax.export.symbolic_shape("many")
    some = [jax.ShapeDtypeStruct((many, *array.shape[1:]), array.dtype) for array in (x, mask)]
    with pytest.raises(ValueError, match=r"a symbolic one takes jax.vmap\(frame_average"):
        jax.eval_shape(packed_of(4), PARAMS, *some)
    with pytest.raises(ValueError, match="batch_size must be a positive integer"):
        sf.batch_capacity(frame, x, mask, batch_size=0)
    with pytest.raises(ValueError, match="must return a Frame"):
        packed_of(4, lambda x, mask: x)(PARAMS, x, mask)
