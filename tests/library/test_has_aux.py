"""What a function returns beside its outputs, and what it keeps of itself, under the averages."""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import symjax_frames as sf
from tests.helpers.clouds import draw_cloud

KEY = jax.random.key(0)
SEGMENTS = jnp.array([0, 0, 0, 1, 1, 1])
EVERY = {"in_actions": sf.points, "out_actions": sf.vectors}
PACKED = {
    "in_actions": sf.packed(sf.points, SEGMENTS),
    "out_actions": sf.packed(sf.vectors, SEGMENTS),
}


def packed_frame(x):
    return sf.packed_pca_frame(x, SEGMENTS, 2)


def outputs(x):
    return jnp.sin(x + 1)


def with_aux(x):
    edges = jnp.argsort(x[:, 0])
    return outputs(x), {"edges": edges, "high": x[:, 0] > 0, "seen": x, "count": 3, "none": None}


AVERAGES = {
    "frame": (functools.partial(sf.frame_average, frame=sf.pca_frame, **EVERY), 4),
    "batches": (functools.partial(sf.frame_average, frame=sf.pca_frame, batch_size=3, **EVERY), 4),
    "packed": (functools.partial(sf.frame_average, frame=packed_frame, **PACKED), 4),
    "group": (functools.partial(sf.group_average, group=sf.cyclic(3), **EVERY), 3),
    "samples": (
        lambda fn, **more: functools.partial(
            sf.sampled_average(fn, sf.pca_frame, num_samples=5, **EVERY, **more), KEY
        ),
        5,
    ),
}


def test_aux_comes_back_unaveraged_with_a_leading_frame_axis():
    x = draw_cloud(0, 6, 2)

    @jax.jit
    def run(x):
        return {
            name: (average(with_aux, has_aux=True)(x), average(outputs)(x))
            for name, (average, _) in AVERAGES.items()
        }

    for name, ((averaged, aux), alone) in run(x).items():
        count = AVERAGES[name][1]
        # The same sum, whatever comes back beside it.
        np.testing.assert_allclose(averaged, alone, atol=1e-15, err_msg=name)
        assert aux["edges"].shape == (count, 6) and aux["edges"].dtype == int, name
        assert aux["high"].shape == (count, 6) and aux["high"].dtype == bool, name
        np.testing.assert_array_equal(aux["count"], np.full(count, 3))
        assert aux["none"] is None
        # What was computed in each element is handed on as it was, and is not moved back.
        seen = np.asarray(aux["seen"])
        np.testing.assert_array_equal(aux["edges"], np.argsort(seen[:, :, 0], axis=1))
        np.testing.assert_array_equal(aux["high"], seen[:, :, 0] > 0)
        spread = np.max(np.abs(seen - seen.mean(axis=0)))
        assert spread > 0.1, name


def test_a_gradient_with_aux_is_that_of_the_average():
    x = draw_cloud(0, 6, 2)
    law = {"in_actions": sf.points, "out_actions": None}
    total = lambda x: jnp.sum(outputs(x))
    both = lambda x: (total(x), jnp.argmax(x[:, 0]))
    aided = sf.frame_average(both, sf.pca_frame, has_aux=True, **law)
    alone = sf.frame_average(total, sf.pca_frame, **law)
    (slope, aux), expected = jax.jit(
        lambda x: (jax.grad(aided, has_aux=True)(x), jax.grad(alone)(x))
    )(x)
    np.testing.assert_allclose(slope, expected, atol=1e-14)
    assert aux.shape == (4,)


def test_without_a_pair_the_error_says_what_to_return(unhooked):
    x = jnp.asarray(draw_cloud(0, 6, 2))
    average = functools.partial(sf.frame_average, frame=sf.pca_frame, **EVERY)
    for fn, got in ((outputs, "Tracer"), (lambda x: (x, x, x), "tuple of length 3")):
        with pytest.raises(ValueError, match=rf"must return a pair \(outputs, aux\), got .*{got}"):
            jax.eval_shape(average(fn, has_aux=True), x)
    with pytest.raises(ValueError, match="must be a floating array.*has_aux=True"):
        jax.eval_shape(average(lambda x: jnp.arange(6)), x)


def test_plain_functions_keep_name_docstring_and_signature():
    def step(positions: jax.Array, *, times: int = 2) -> jax.Array:
        """Moves the points."""
        return positions * times

    def keyed(key, x):
        return x

    step.tag = "mine"  # type: ignore[attr-defined]
    for average in (
        sf.frame_average(step, sf.pca_frame, **EVERY),
        sf.group_average(jax.jit(step, static_argnames="times"), sf.cyclic(3), **EVERY),
    ):
        assert (average.__name__, average.__doc__) == ("step", "Moves the points.")
        assert inspect.signature(average) == inspect.signature(step)
    sampled = sf.sampled_average(step, sf.pca_frame, **EVERY)
    assert (sampled.__name__, sampled.__doc__) == ("step", "Moves the points.")
    assert list(inspect.signature(sampled).parameters) == ["key", "positions", "times"]
    # JAX reads the signature to find arguments by name.
    jitted = jax.jit(sampled, static_argnames="times")
    jax.eval_shape(functools.partial(jitted, times=3), KEY, jnp.ones((5, 2)))
    assert len(inspect.signature(sf.sampled_average(keyed, sf.cyclic(3), **EVERY)).parameters) == 3
    assert sf.close(sf.pca_frame, sf.signs(3)).__name__ == "pca_frame"
    # Not so an object: its attributes are not those of the average.
    dense = nnx.Linear(2, 2, rngs=nnx.Rngs(0))
    for average in (
        sf.frame_average(dense, sf.pca_frame, **EVERY),
        sf.sampled_average(functools.partial(step, times=3), sf.pca_frame, **EVERY),
    ):
        assert average.__doc__ is None
        assert not hasattr(average, "kernel") and not hasattr(average, "func")
