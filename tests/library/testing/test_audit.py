"""The audit finds what is wrong, and nothing where nothing is."""

import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import symjax_frames as sf
from symjax_frames.testing import assert_audit, audit, generic_cloud

EPS = float(jnp.finfo(float).eps)
# Rounding through a small network and a well-conditioned frame.
ROUNDING = 1000 * EPS
KEY = jax.random.key(3)
WEIGHTS = 2 * np.random.default_rng(0).normal(size=(2, 8))
CENTRED = np.array([[0.6, 0.7], [-0.7, 0.6], [-0.6, -0.7], [0.7, -0.6], [0, 0]])


def energy(x):
    """A generic function of a cloud that no symmetry but that of permutations leaves alone."""
    return jnp.sum(jnp.tanh(x @ jnp.asarray(WEIGHTS, x.dtype) + 0.3) ** 2)


def averaged(fn, group="E", returns=None, detach=False):
    frame = functools.partial(sf.pca_frame, group=group, detach=detach)
    return sf.frame_average(fn, frame, in_actions=sf.points, out_actions=returns)


@functools.cache
def generic(dim=2):
    # Mostly in the plane, where averages compile in half the time.
    return {"generic": np.asarray(generic_cloud(jax.random.key(1), 5, dim))}


def look(fn, clouds=None, **options):
    """The audit of one cloud, compiled."""
    found = audit(jax.jit(fn), generic() if clouds is None else clouds, key=KEY, **options)
    return found, found.clouds[0]


@functools.cache
def bare():
    return look(energy)


@functools.cache
def average():
    clouds = {**generic(), "square with centre": CENTRED}
    return look(averaged(energy), clouds)


def test_a_generic_backbone_breaks_every_symmetry_but_that_of_points():
    found, cloud = bare()
    for error in (
        cloud.proper,
        cloud.improper,
        cloud.translation,
        cloud.net_force,
        cloud.net_torque,
    ):
        assert error > 1e-2
    # As any energy: differentiable, continuous and conservative.
    assert cloud.permutation < ROUNDING
    assert max(cloud.jump, cloud.crossing, cloud.gradient, cloud.asymmetry) < 1e-7
    assert cloud.nonfinite_values == cloud.nonfinite_gradients == 0
    assert found.separates_mirror_images is None and found.keeps_dtype and found.retraces == 0


def test_it_is_shown_in_one_line_and_printed_as_tables():
    found, _ = bare()
    line, errors, degrees = str(found).split("\n\n")
    assert line == repr(found)
    worst = max(found.failures(), key=lambda failure: float(failure.split()[-3]))
    assert line == f"<Audit of 1 cloud, E, float64: 5 times a law is broken, most by {worst}>"
    assert [text.split()[0] for text in errors.splitlines()] == ["cloud", "generic"]
    assert len({len(text) for text in degrees.splitlines()}) == 1 and "l = 4" in degrees
    clean = dataclasses.replace(found, clouds=())
    assert repr(clean) == "<Audit of 0 clouds, E, float64: no law is broken>"


def test_an_average_breaks_none_but_jumps_at_the_crossing():
    found, cloud = average()
    errors = (cloud.proper, cloud.improper, cloud.translation, cloud.permutation)
    assert max(*errors, cloud.net_force, cloud.net_torque) < ROUNDING
    assert cloud.gradient < 1e-7 and cloud.asymmetry < 1e-7 and cloud.jump < 1e-10
    assert cloud.crossing > 1e-2
    assert found.separates_mirror_images is False
    (line,) = [line for line in found.failures() if line.startswith("generic")]
    assert line.startswith("generic: crossing ")
    # Principal axes mean nothing for a square, and every measure says so.
    square = found.clouds[1]
    assert min(square.proper, square.jump, square.gradient) > 1e-3
    assert sum(square.degrees[1:]) > 1e-6


@pytest.mark.fast
def test_an_average_over_rotations_separates_mirror_images():
    found, cloud = look(averaged(energy, "SE"), group="SE")
    assert cloud.proper < ROUNDING < 1e-3 < cloud.improper
    assert found.separates_mirror_images is True
    assert not any("reflections" in line for line in found.failures())


def test_a_detached_frame_leaves_forces_that_are_no_gradient():
    _, cloud = look(averaged(energy, detach=True))
    assert cloud.proper < ROUNDING
    assert min(cloud.gradient, cloud.asymmetry) > 1e-3


def test_a_field_of_vectors_is_told_from_forces():
    def curl(x):
        return jnp.stack([-x[:, 1], x[:, 0]], axis=1)

    _, turning = look(curl, out_actions=sf.vectors)
    assert turning.asymmetry == pytest.approx(2)
    assert turning.net_torque > 0.1
    _, pulling = look(jax.grad(energy), out_actions=sf.vectors)
    assert pulling.asymmetry < 1e-7
    assert pulling.net_force > 1e-2


@pytest.mark.parametrize(
    ("measure", "fn"),
    [
        ("translation", lambda x: jnp.tanh(jnp.sum(jnp.mean(x, axis=0)) + 0.5)),
        ("permutation", lambda x: jnp.sum((x[0] - x[1]) ** 2)),
    ],
)
def test_a_law_that_is_broken_alone_is_found_alone(measure, fn):
    _, cloud = look(fn)
    laws = ("proper", "improper", "translation", "permutation")
    errors = {law: getattr(cloud, law) for law in laws}
    assert errors.pop(measure) > 1e-2
    assert max(errors.values()) < ROUNDING
    if measure == "permutation":
        assert look(fn, permutes=False)[1].permutation is None


def test_arguments_are_permuted_with_the_points():
    def dynamics(x, v, edges, charge, power):
        return x + v * charge[:, None] ** power + jnp.sum(edges, axis=1)[:, None] * v

    draw = np.random.default_rng(1)
    extras = [draw.normal(size=shape) for shape in ((5, 2), (5, 5), (5,))]
    law = {
        "arguments": lambda x: (x, *extras, 2),
        "in_actions": (sf.points, sf.vectors, None, None, None),
        "out_actions": sf.points,
    }

    def order_edges(order, args):
        x, v, edges, charge, power = args
        return x[order], v[order], edges[order][:, order], charge[order], power

    def run(**options):
        static = jax.jit(dynamics, static_argnums=4)
        return audit(static, generic(), key=KEY, **law, **options).clouds[0]

    right = run(permutes=order_edges)
    assert max(right.permutation, right.proper, right.translation) < ROUNDING
    wrong = run(permutes=lambda order, args: (args[0][order], *args[1:]))
    assert wrong.permutation > 1e-2 and wrong.proper < ROUNDING


@pytest.mark.parametrize(
    ("power", "degrees"),
    [
        (1, [0, 1, 0, 0, 0, 0]),
        # x^4 = P_0 / 5 + 4 P_2 / 7 + 8 P_4 / 35, where P_l^2 has the mean 1 / (2 l + 1).
        (4, [9 / 25, 0, 144 / 245, 0, 64 / 1225, 0]),
        # Degree 5 is beyond those that are told apart.
        (5, [0, 33 / 49, 0, 176 / 567, 0, 64 / 3969]),
    ],
)
def test_polynomials_have_their_degrees(power, degrees):
    _, cloud = look(lambda x: (x[0, 0] - x[1, 0]) ** power, generic(3))
    np.testing.assert_allclose(cloud.degrees, degrees, atol=1e-12)


def test_an_average_is_all_of_degree_zero_and_a_backbone_is_not():
    (_, plain), (_, even) = bare(), average()
    assert even.degrees[0] == pytest.approx(1) and sum(even.degrees[1:]) < ROUNDING
    assert min(plain.degrees) > 1e-10 and sum(plain.degrees) == pytest.approx(1)


def test_a_vector_is_measured_in_the_frame_it_turns_with():
    # With one vector that moves and one that does not: each of length one.
    def both(x):
        arm = x[0] - x[1]
        return jnp.stack([arm / jnp.linalg.norm(arm), jnp.array([1.0, 0.0, 0.0])])

    cloud = look(both, generic(3), out_actions=sf.vectors)[1]
    np.testing.assert_allclose(cloud.degrees, [0.5, 0.5, 0, 0, 0, 0], atol=1e-12)


def test_dtypes_and_retraces_are_reported():
    def widened(x):
        return jnp.sum(x).astype(jnp.float64)

    found, _ = look(widened, dtype="float32")
    assert found.output_dtypes == ("float64",) and not found.keeps_dtype
    assert found.failures()[0] == "outputs are float64 for float32 clouds"
    calls = 0

    def again(x):
        nonlocal calls
        calls += 1
        return jax.jit(lambda y: jnp.sum(y) * 2.0)(x)

    found = audit(again, generic(), key=KEY)
    # Called as it is four times, and traced once for all that is measured.
    assert found.retraces == 2 and calls == 5
    assert any("traced again" in line for line in found.failures())


def test_what_is_not_finite_is_reported_and_does_not_raise():
    norms = lambda x: jnp.sum(jnp.linalg.norm(x, axis=1))
    zero = {"a point at the origin": np.array([[0.0, 0], [1, 2]])}
    found, cloud = look(norms, zero)
    assert cloud.nonfinite_gradients > 0 and cloud.nonfinite_values == 0
    text = json.dumps(found.as_dict(), allow_nan=False)
    assert json.loads(text)["clouds"][0]["gradient"] == "nan"
    assert any("gradients are not finite" in line for line in found.failures())
    found, cloud = look(lambda x: jnp.sum(x) / jnp.sum(x[0]), zero)
    assert cloud.nonfinite_values > 0
    assert "values" in found.table()[1][0][-1]


def test_jumps_are_found_and_steep_slopes_are_none():
    steep = look(lambda x: jnp.tanh(1e4 * jnp.sum(x - jnp.asarray(generic()["generic"]))))[1]
    step = look(lambda x: jnp.where(jnp.sum(x - jnp.asarray(generic()["generic"])) > 0, 1.0, 2.0))[
        1
    ]
    assert steep.jump < 1e-6 and step.jump == pytest.approx(0.5)


def test_an_output_that_vanishes_by_symmetry_has_no_relative_error():
    def pull(x):
        arms = x[-1][None] - x
        return jnp.sum(arms / jnp.sqrt(jnp.sum(arms**2, axis=1, keepdims=True) + 1), axis=0)

    fn, law = jax.jit(pull), {"key": KEY, "out_actions": sf.vectors, "permutes": False}
    symmetric = audit(fn, {"centred": CENTRED, **generic()}, **law).clouds[0]
    alone = audit(fn, {"centred": CENTRED}, **law).clouds[0]
    assert symmetric.proper < ROUNDING < alone.proper


def test_the_plane_has_degrees_too():
    _, cloud = look(lambda x: (x[0, 0] - x[1, 0]) ** 2)
    np.testing.assert_allclose(cloud.degrees, [2 / 3, 0, 1 / 3, 0, 0, 0], atol=1e-12)


def test_the_assertion_is_one_line_and_names_what_is_broken(unhooked):
    spread = jax.jit(lambda x: jnp.mean((x - jnp.mean(x, axis=0, keepdims=True)) ** 2))
    assert assert_audit(spread, generic(), key=KEY).group == "E"
    with pytest.raises(AssertionError, match="generic: rotations .* exceeds"):
        assert_audit(jax.jit(energy), generic(), key=KEY)
    assert len(bare()[0].failures()) > len(bare()[0].failures(tolerance=1e3)) == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"group": "D4"}, "group must be one of T, O, SO, E, SE, got 'D4'"),
        ({"fn": 3}, "fn must be callable, got int"),
        ({"clouds": {}}, "clouds must hold at least one cloud"),
        ({"clouds": np.ones((2, 3))}, "clouds must be named"),
        ({"key": 0}, "key must be a PRNG key, got int"),
        (
            {"fn": lambda x: jnp.exp(jax.lax.complex(x, x))},
            "output is complex128; return its real and imaginary",
        ),
        ({"clouds": {"bad": np.ones(3)}}, "cloud 'bad': the first argument that moves must be"),
        (
            {"clouds": {"bad": np.full((2, 3), np.nan)}},
            "cloud 'bad': its coordinates must be finite",
        ),
        ({"in_actions": None}, "cloud 'generic': in_actions must move an argument"),
        ({"fn": lambda x: x @ x}, "cloud 'generic': "),
        ({"fn": lambda x: jnp.argmax(x)}, "fn must return a floating array"),
        ({"arguments": lambda x: [x]}, "arguments must return a tuple"),
        ({"dtype": int}, "dtype must be floating"),
        ({"max_degree": 0}, "max_degree must be a positive integer"),
    ],
)
def test_mistakes_are_named(unhooked, change, words):
    options = {"fn": energy, "clouds": generic(), "key": KEY, **change}
    with pytest.raises(ValueError) as caught:
        audit(**options)
    assert words in str(caught.value)
