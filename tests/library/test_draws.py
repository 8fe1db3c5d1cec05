"""Samples whose elements depend on each other: their mean over all draws, and what cancels in one."""

import functools
import itertools
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import symjax_frames as sf
from symjax_frames import nn
from symjax_frames._draws import Plan, draw_elements, systematic_draws

MOVES = {"in_actions": sf.vectors, "out_actions": sf.vectors}
CLOUD = np.random.default_rng(0).normal(size=(5, 2))
TURNS = sf.cyclic(5).elements.linear


def backbone(x):
    return jnp.exp(jnp.sin(x @ jnp.array([[0.3, 0.2], [0.6, -0.8]]) + 0.4))


def weights_of(x):
    """Of five elements, from one coordinate of five points; the third has none."""
    scores = x[:, 0] ** 2 * np.array([1.0, 3.0, 0.0, 0.5, 1.0])
    return scores / scores.sum()


def turns(x, weights=weights_of):
    """Weighted elements: draws know nothing of how a frame is made."""
    return sf.Frame(sf.Isometry(jnp.asarray(TURNS), jnp.zeros((5, 2))), weights(x))


def frozen(x):
    return turns(x, lambda x: jax.lax.stop_gradient(weights_of(x)))


CLOSED = sf.close(turns, sf.cyclic(2))


def offsets(weights, count):
    """One offset for each set of elements that can be drawn, and the probability of the set."""
    ends = np.sort(np.concatenate([[0, 1], np.cumsum(weights) * count % 1]))
    return (ends[1:] + ends[:-1]) / 2, np.diff(ends)


def at_offset(sampled, offset, x):
    """A sample for a given offset in the place of a random one."""
    given = lambda key, shape, dtype: jnp.broadcast_to(offset.astype(dtype), shape)
    with mock.patch("jax.random.uniform", given):
        return sampled(jax.random.key(0), x)


CASES = {
    "systematic": (turns, 3, {"draws": "systematic"}),
    "orbits": (CLOSED, 4, {"draws": sf.cyclic(2)}),
    "frozen": (frozen, 3, {"draws": "systematic"}),
}


def test_the_mean_over_all_draws_is_the_average_with_its_gradient():
    reduce = lambda y: jnp.sum(y * jnp.arange(10.0).reshape(5, 2))
    weights, pairs = weights_of(CLOUD), np.repeat(weights_of(CLOUD) / 2, 2)
    every = {name: offsets(weights, 3) for name in CASES} | {"orbits": offsets(pairs, 2)}

    @jax.jit
    def run(x, every):
        both = lambda fn: jax.value_and_grad(lambda x: reduce(fn(x)))(x)
        exact = [both(sf.frame_average(backbone, frame, **MOVES)) for frame in (turns, CLOSED)]
        found = {}
        for name, (frame, count, options) in CASES.items():
            sampled = sf.sampled_average(backbone, frame, num_samples=count, **options, **MOVES)
            draw = lambda offset, fn=sampled: both(lambda x: at_offset(fn, offset, x))
            found[name] = jax.vmap(draw)(every[name]), exact[frame is CLOSED]
        return found

    results = jax.device_get(run(CLOUD, {name: offset for name, (offset, _) in every.items()}))
    for name, ((values, slopes), (value, slope)) in results.items():
        chances = every[name][1]
        np.testing.assert_allclose(chances @ values, value, rtol=1e-13, err_msg=name)
        # Single draws differ, and so would draws of other probabilities.
        assert np.std(values) > 1e-2
        assert abs(np.mean(values) - value) > 1e-3
        error = np.abs(np.tensordot(chances, slopes, 1) - slope).max() / np.abs(slope).max()
        assert error > 1e-2 if name == "frozen" else error < 1e-13, name


def test_packed_graphs_have_offsets_and_weights_of_their_own():
    """Two graphs of two clouds, one that has no weights, and one whose weights are unknown."""
    segments = jnp.repeat(jnp.arange(4), 5)
    law = dict.fromkeys(("in_actions", "out_actions"), sf.packed(sf.vectors, segments))

    def packed(x):
        frames = jax.vmap(turns)(x.reshape(4, 5, 2))
        elements, weights = jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), frames)
        others = jnp.broadcast_to(jnp.array([[0.0, jnp.nan]]), (5, 2))
        return sf.Frame(elements, jnp.concatenate([weights[:, :2], others], axis=1))

    one = sf.sampled_average(backbone, turns, num_samples=2, draws="systematic", **MOVES)
    all_four = sf.sampled_average(backbone, packed, num_samples=2, draws="systematic", **law)

    def total(x, offset):
        values = at_offset(all_four, offset, x.reshape(20, 2)).reshape(4, 5, 2)
        return jnp.sum(values[:3]), values

    @jax.jit
    def run(offset, clouds):
        alone = jax.vmap(functools.partial(at_offset, one))(offset[:2], clouds[:2])
        return alone, *jax.grad(total, has_aux=True)(clouds, offset)

    clouds = np.stack([CLOUD, CLOUD[::-1], CLOUD, CLOUD])
    alone, slopes, together = jax.device_get(run(np.array([0.1, 0.8, 0.1, 0.1]), clouds))
    np.testing.assert_allclose(together[:2], alone, rtol=1e-13)
    assert not together[2].any() and np.isnan(together[3]).all()
    assert np.isfinite(slopes[:3]).all() and slopes[:2].any() and not slopes[2].any()
    swapped = np.asarray(run(np.array([0.8, 0.1, 0.1, 0.1]), clouds)[0])
    assert np.abs(swapped - alone).max(axis=(1, 2)).min() > 1e-2


def test_elements_are_drawn_as_often_as_their_weights_say():
    """Rounded up or down, and never without a weight, wherever the marks are."""
    draw = np.random.default_rng(0)
    weights = draw.uniform(size=(200, 12)) * (draw.uniform(size=(200, 12)) < 0.6)
    weights[:, 4] += 1e-3
    weights = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    weights[-3:] = np.eye(12)[[0, 5, 11]]
    marks = np.array([0, 1e-30, 0.3, np.nextafter(np.float32(1), 0)], np.float32)
    none, unknown = np.zeros((1, 12)), np.full((1, 12), np.nan)
    rows = np.concatenate([weights, none, unknown]).astype(np.float32)
    each = lambda weights: jax.vmap(lambda mark: systematic_draws(mark, weights, 5))(marks)
    drawn = np.asarray(jax.jit(jax.vmap(each))(rows))
    counts = (drawn[:-2, :, :, None] == np.arange(12)).sum(axis=2)
    expected = 5 * weights.astype(float)[:, None]
    assert (counts > expected - 1 - 1e-4).all() and (counts < expected + 1 + 1e-4).all()
    assert not counts[np.broadcast_to(expected == 0, counts.shape)].any()
    assert (drawn[-2:] == 0).all()


@pytest.mark.parametrize("systematic", [False, True])
def test_nothing_is_drawn_with_weights_that_are_negative_or_unknown(systematic):
    """Where they are traced, they cannot be refused; the estimate must not look like a number."""
    columns = np.array([[1, -1, 1], [0.5, 0.5, np.nan], [0.5, 0.5, 0]], np.float32).T
    drawn = jax.jit(
        lambda weights: (
            draw_elements(
                jax.random.key(0), sf.Frame(weights, weights), Plan(4, systematic)
            ).weights
        )
    )(columns)
    np.testing.assert_array_equal(drawn, np.broadcast_to([np.nan, np.nan, 0.25], (4, 3)))


def strides(rows, count):
    """The products with the first of all sets of equally distant rows."""
    rows = np.asarray(rows)
    sets = [rows[start :: len(rows) // count] for start in range(len(rows) // count)]
    return np.array([one * one[0] for one in sets])


def test_signs_that_are_drawn_together_are_half_turns_of_each_other():
    signs = np.diagonal(sf.signs(3).elements.linear, axis1=1, axis2=2)
    in_order = np.array(list(itertools.product((1, -1), repeat=3)))
    for count in (2, 4):
        assert (strides(signs, count).prod(axis=2) == 1).all()
        assert not (strides(in_order, count).prod(axis=2) == 1).all()
    # Four of them cancel the first degree, and the second in two axes.
    four = strides(signs, 4)
    np.testing.assert_array_equal(four.sum(axis=1), 0)
    np.testing.assert_array_equal(np.einsum("nki,nkj->nij", four, four), [4 * np.eye(3)] * 2)
    # Closures by more than the signs have the rest of the group next to each other.
    cloud = sf.Frame(sf.Isometry(np.eye(3)[None], np.zeros((1, 3))), np.ones(1))
    group, already = sf.signed_permutations(3), sf.signs(3)
    closed = jax.jit(lambda f: sf.close(sf.close(f, already), group, already=already))(cloud)
    linear = np.asarray(closed.elements.linear)[1::12]
    np.testing.assert_array_equal(np.abs(linear), np.broadcast_to(np.abs(linear[:1]), (4, 3, 3)))


def test_every_draw_of_orbits_is_exact_in_what_they_cancel():
    vectors = np.random.default_rng(1).normal(size=(2, 2))
    along = jnp.array([1.0, -2.0])
    law = {"in_actions": sf.vectors, "out_actions": None}

    def powers(x):
        first, second = x @ along
        return jnp.stack([first**power * second for power in range(4)])

    average = functools.partial(sf.sampled_average, powers, **law)
    squares = average(sf.special_orthogonal(2), num_samples=4, draws=sf.cyclic(4))
    pairs = average(sf.orthogonal(2), num_samples=2, draws="antithetic")
    run = jax.jit(lambda keys, x: [jax.vmap(lambda k: (squares(k, x), pairs(k, x)))(keys)])
    ((of_four, of_two),) = jax.device_get(run(jax.random.split(jax.random.key(0), 3), vectors))
    # The mean of (a R x) (a R y) is a.a x.y / 2, and those of odd degree vanish.
    exact = np.array([0, 5 * vectors[0] @ vectors[1] / 2, 0])
    np.testing.assert_allclose(of_four[:, :3], np.broadcast_to(exact, (3, 3)), atol=1e-12)
    np.testing.assert_allclose(of_two[:, ::2], 0, atol=1e-12)
    # Beyond their degree they are estimates like others.
    assert np.std(of_four[:, 3]) > 1e-2 and np.std(of_two[:, 1]) > 1e-2


def test_draws_of_a_finite_group_and_of_a_module():
    linear = nnx.eval_shape(lambda: nnx.Linear(2, 2, param_dtype=float, rngs=nnx.Rngs(0)))
    graph, state = nnx.split(linear)
    linear = nnx.merge(graph, jax.tree.map(lambda leaf: np.ones(leaf.shape), state))
    options = {"num_samples": 5, "in_actions": sf.vectors, "out_actions": None}
    source, rngs = sf.cyclic(5), nnx.Rngs(1)
    systematic = nn.averaged(linear, source, draws="systematic", rngs=rngs, **options)
    independent = nn.averaged(linear, source, rngs=rngs, **options)

    @nnx.jit
    def run(systematic, independent, x):
        drawn = systematic(x), independent(x)
        systematic.eval()
        return *drawn, systematic(x)

    # Five of five elements without replacement are the whole group.
    drawn, other, whole = jax.device_get(run(systematic, independent, CLOUD))
    np.testing.assert_allclose(drawn, whole, atol=1e-14)
    assert np.abs(other - whole).max() > 1e-2


def test_what_cannot_be_drawn_is_refused(unhooked):
    sample = functools.partial(sf.sampled_average, backbone, **MOVES)
    for source, draws, count, words in (
        (
            turns,
            "stratified",
            1,
            "must be one of 'independent', 'systematic', 'antithetic', or a fin",
        ),
        (turns, sf.orthogonal(2), 2, r"finite Group such as signs\(3\), got Group\(O\(2\)\)"),
        (turns, sf.octahedral, 24, "the function octahedral; call it"),
        (turns, "antithetic", 3, "num_samples must be a multiple of 2, .*'antithetic'.*, got 3"),
        (turns, sf.cyclic(4), 2, r"multiple of 4, .*Group\(C4\).* got 2"),
        (sf.orthogonal(2), "systematic", 2, r"O\(2\)\) is infinite; give a finite subgroup"),
        (sf.special_orthogonal(3), "antithetic", 2, "signs.3, proper=True. has half turns"),
        (sf.orthogonal(3), sf.cyclic(2), 2, r"draws must be a subgroup of O\(3\), got C2"),
        (sf.cyclic(3), "antithetic", 2, r"draws must be a subgroup of C3, got inversion\(2\)"),
    ):
        with pytest.raises(ValueError, match=words):
            sample(source, draws=draws, num_samples=count)
    shifts = lambda x: sf.Frame(jnp.arange(2.0), jnp.full(2, 0.5))
    act = sf.Action(lambda g, x: x, lambda g, x: x)
    draw = sf.sampled_average(
        backbone, shifts, in_actions=act, out_actions=act, num_samples=2, draws="antithetic"
    )
    with pytest.raises(ValueError, match="must be of the type Isometry, got .*'systematic' takes"):
        jax.eval_shape(draw, jax.random.key(0), CLOUD)
    law = {"has_aux": True, "num_samples": 4, "draws": "antithetic", **MOVES}
    pair = sf.sampled_average(lambda x: (x, jnp.argmax(x)), turns, **law)
    assert jax.eval_shape(pair, jax.random.key(0), CLOUD)[1].shape == (4,)
