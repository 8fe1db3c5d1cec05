import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import monitoring

import symjax_frames as sf
from symjax_frames.testing import (
    assert_equivariant,
    equivariance_error,
    generic_cloud,
    hard_clouds,
    packed_group,
)
from symjax_frames.testing._law import check_law, law_error
from symjax_frames.testing._terms import with_terms
from tests.helpers.clouds import draw_cloud, padded


def test_hard_clouds_are_what_their_names_say():
    clouds = hard_clouds()
    x, masks = padded(clouds, "float64", 12)
    gaps = dict(zip(clouds, jax.jit(jax.vmap(sf.spectral_gap))(x, masks), strict=True))
    rank = {
        name: np.linalg.matrix_rank(cloud - cloud.mean(0), tol=1e-9 * max(1e-30, np.ptp(cloud)))
        for name, cloud in clouds.items()
    }
    repeated = ["ammonia", "methane", "benzene", "cube", "octahedron", "square"]
    for name in [*repeated, "carbon dioxide", "asymmetric line", "two points"]:
        assert gaps[name] < 1e-12, name
    for name in ("water", "pyridine", "duplicated points", "offset 1e3"):
        assert gaps[name] > 1e-3, name
    assert gaps["cube with 1e-6 noise"] < 1e-5 < gaps["cube with 1e-3 noise"] < 1e-2
    assert rank["water"] == rank["pyridine"] == rank["benzene"] == rank["square"] == 2
    assert rank["carbon dioxide"] == rank["asymmetric line"] == rank["two points"] == 1
    assert rank["one point"] == 0 and np.ptp(clouds["all points equal"]) == 0
    assert rank["scale 1e-20"] == rank["scale 1e20"] == 3
    lengths = np.linalg.norm(clouds["methane"][1:] - clouds["methane"][0], axis=1)
    np.testing.assert_allclose(lengths, 1.09)
    assert all(cloud.dtype == np.float64 for cloud in clouds.values())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("dim", [1, 2, 3, 4])
def test_generic_clouds_have_the_stated_spectrum(keys, dim, dtype):
    draw = jax.jit(lambda key: generic_cloud(key, dim + 3, dim, gap=0.1, dtype=dtype))
    cloud = np.asarray(draw(next(keys)))
    assert cloud.dtype == dtype
    arms = np.asarray(cloud - cloud.mean(axis=0, keepdims=True), np.float64)
    values = np.linalg.eigvalsh(arms.T @ arms)[::-1]
    tolerance = 50 * float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(values, 1 - 0.1 * np.arange(dim), atol=tolerance)


@pytest.mark.fast
def test_the_error_is_relative_and_finds_the_worst_output(keys):
    x = draw_cloud(0, 5, 3)
    law = {"group": sf.orthogonal(3), "in_actions": sf.vectors, "key": next(keys)}
    bent = lambda size: lambda x: {"good": x, "bad": size * (x + 1e-3 * jnp.ones_like(x))}
    actions = {"good": sf.vectors, "bad": sf.vectors}

    @jax.jit
    def errors(x):
        measure = lambda fn, actions: equivariance_error(fn, x, out_actions=actions, **law)
        bends = [measure(bent(size), actions) for size in (1e-9, 1e9)]
        return *bends, measure(lambda x: x, sf.vectors)

    small, large, only_good = errors(x)
    np.testing.assert_allclose(small, large, rtol=1e-6)
    assert 1e-4 < small < 1e-1
    assert only_good == 0


def test_keyword_arguments_reach_the_function(keys):
    x = draw_cloud(0, 5, 3)
    assert_equivariant(
        lambda x, *, scale: scale * x,
        x,
        scale=3.0,
        group=sf.orthogonal(3),
        in_actions=sf.vectors,
        out_actions=sf.vectors,
        key=next(keys),
    )


WEIGHTS = np.array([[1.0, 0.3, -0.4], [-0.2, 0.8, 0.5]])
LAW = {"group": sf.euclidean(2), "in_actions": sf.points, "key": jax.random.key(5)}


def odd(x):
    return jnp.sum(jnp.tanh(x @ jnp.asarray(WEIGHTS)))


def test_an_average_that_vanishes_is_equivariant_and_a_small_function_need_not_be(unhooked):
    average = jax.jit(sf.frame_average(odd, sf.pca_frame, in_actions=sf.points, out_actions=None))
    x, law = draw_cloud(0, 4, 2), LAW | {"out_actions": None}

    def cosines(x):
        """A square less what it is the sum of."""
        (a, b), dot = x[1:3] - x[:1], lambda a, b: jnp.sum(a * b)
        return dot(a - b, a - b) - (dot(a, a) - 2 * dot(a, b) + dot(b, b))

    wrong = (
        lambda x: average(x) + 1e-9 * x[0, 0],
        lambda x: cosines(x) + 1e-9 * x[0, 0],
        lambda x: 1e-30 * x[0, 0],
        lambda x: 1e-30 * (x[0, 0] - x[1, 0]),
        lambda x: (average(x), 1e-30 * odd(x)),
    )

    @jax.jit
    def errors(x):
        checked = check_law(law["group"], law["in_actions"], None, 8)
        measure = lambda fn: law_error(fn, (x,), {}, checked, law["key"], floored=True)
        return average(x), equivariance_error(cosines, x, **law), [measure(fn) for fn in wrong]

    nothing, relative, floored = errors(x)
    assert abs(nothing) < 1e-15 < 1e-3 < relative
    assert min(floored) > 1e-9
    assert_equivariant(lambda x: (2 * average(x) / 3, 1e-30 * cosines(x)), x, **law)
    with pytest.raises(AssertionError, match="relative equivariance error"):
        assert_equivariant(wrong[0], x, **law)


def test_terms_are_those_of_the_last_sum():
    one, three = jnp.array([1.0, -1.0]), jnp.array([[1.0, 2.0], [1.0, 2.0], [1.0, 2.0]])

    def outputs(x):
        wave = jax.nn.relu(jnp.sin(x))
        return {
            "mean": jnp.mean(jax.checkpoint(jnp.sin)(x)),
            "difference": x - 3 * x[::-1],
            "constants": three @ x,
            "product of sums": jnp.sum(x) * jnp.sum(x + 1),
            "dot of sums": (x + one) @ (x + one),
            "segments": jax.ops.segment_sum(-x / 2, jnp.array([0, 0]), 2),
            "chosen": jnp.where(jnp.array(True), jnp.concatenate([x, wave])[:2], 0.0),
            "loop": jax.lax.map(lambda entry: entry - entry, x),
            "integer": jnp.argmax(x) - 1,
        }

    values, terms = jax.jit(with_terms(jax.jit(outputs)))(one)
    expected = {
        "mean": np.sin(1),
        "difference": [4, 4],
        "constants": [3, 3, 3],
        "product of sums": 0,
        "dot of sums": 8,
        "segments": [1, 0],
        "chosen": [1, 1],
        "loop": [0, 0],
        "integer": 1,
    }
    for name, size in expected.items():
        np.testing.assert_allclose(terms[name], size, err_msg=name)
    jax.tree.map(np.testing.assert_allclose, values, jax.jit(outputs)(one))


def test_a_packed_function_is_moved_by_one_element_a_graph(unhooked):
    ids, x = jnp.array([0, 0, 0, 1, 1]), draw_cloud(0, 5, 2)
    sums = lambda rows: jax.ops.segment_sum(rows, ids, 2)
    moves = {"in_actions": sf.packed(sf.points, ids), "out_actions": sf.packed(None, jnp.arange(2))}
    law = LAW | moves | {"group": packed_group(sf.euclidean(2), 2)}

    def spread(x):
        arms = x - (sums(x) / jnp.array([[3.0], [2.0]]))[ids]
        return sums(jnp.sum(arms**2, axis=1))

    def leaking(x):
        return spread(x) + jnp.sum((x[2] - x[3]) ** 2)

    @jax.jit
    def errors(x):
        return [
            equivariance_error(spread, x, **law),
            equivariance_error(leaking, x, **law),
            # Moved all alike, the graphs seem to be apart.
            equivariance_error(leaking, x, **LAW, out_actions=None),
        ]

    right, wrong, unseen = errors(x)
    assert max(right, unseen) < 1e-12 < 1e-2 < wrong
    with pytest.raises(AssertionError, match="under E.2. for each of 2 graphs"):
        assert_equivariant(leaking, x, **law)
    with pytest.raises(ValueError, match="packed data need a packed frame"):
        assert_equivariant(spread, x, **LAW | moves)
    with pytest.raises(ValueError, match="num_segments must be a positive integer, got 0"):
        packed_group(sf.euclidean(2), 0)
    with pytest.raises(ValueError, match="group must be a Group"):
        packed_group("E", 2)


def test_what_does_not_move_keeps_its_values_and_all_is_one_program():
    x, mask = draw_cloud(0, 4, 2), jnp.array([True, True, True, False])

    def kept(x, mask, count):
        some = x[: int(np.asarray(mask).sum())]
        return jnp.mean((some - jnp.mean(some, axis=0, keepdims=True)) ** 2) * count

    def counted(x, mask, count):
        return kept(x, np.arange(4) < int(jnp.sum(mask)), count)

    programs = []
    listen = lambda event, *_, **__: programs.append(event)
    monitoring.register_event_duration_secs_listener(listen)
    try:
        assert_equivariant(
            kept, x, mask, 2, out_actions=None, **LAW | {"in_actions": (sf.points, None, None)}
        )
    finally:
        monitoring.unregister_event_duration_listener(listen)
    assert programs.count("/jax/core/compile/backend_compile_duration") == 1
    # It decides by what JAX computes, which only operations that are not compiled allow.
    law = LAW | {"in_actions": (sf.points, None, None), "out_actions": None}
    assert_equivariant(counted, x, mask, 2, **law)
