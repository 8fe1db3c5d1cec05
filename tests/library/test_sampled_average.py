import jax
import jax.numpy as jnp
import numpy as np
import pytest

import symjax_frames as sf
from tests.helpers.clouds import draw_cloud

# In the plane, where frames compile faster than in space.
MOVES = {"in_actions": sf.points, "out_actions": sf.vectors}


def backbone(x):
    weight = jnp.array([[0.0, 0.2], [0.6, -0.8]])
    return jnp.sin(x @ weight + 0.4) + jnp.mean(x**2)


def weighted_frame(x, theta=0.0):
    """A PCA frame whose weights depend on the input, as those of a learned frame do."""
    frame = sf.pca_frame(x)
    scores = jnp.einsum("kij,ij->k", frame.elements.linear, jnp.eye(2) + theta)
    return sf.Frame(frame.elements, jax.nn.softmax(scores))


@pytest.mark.parametrize(
    "name", ["pca", "vanishing", pytest.param("weighted", marks=pytest.mark.fast)]
)
def test_value_and_gradient_are_unbiased(keys, name):
    frames = {
        "pca": [sf.pca_frame],
        "vanishing": [vanishing_frame],
        "weighted": [weighted_frame, frozen_frame],
    }[name]
    x = draw_cloud(0, 5, 2)
    reduce = lambda y: jnp.sum(y * jnp.arange(10.0).reshape(5, 2))
    full = sf.frame_average(backbone, frames[0], **MOVES)
    count = 10_000

    @jax.jit
    def run(x, keys):
        def draws(frame):
            sampled = sf.sampled_average(backbone, frame, **MOVES)
            draw = lambda key: jax.value_and_grad(lambda x: reduce(sampled(key, x)))(x)
            return jax.vmap(draw)(keys)

        exact = jax.value_and_grad(lambda x: reduce(full(x)))(x)
        return exact, [draws(frame) for frame in frames]

    exact, found = jax.device_get(run(x, jax.random.split(next(keys), count)))

    def standard_errors(estimates, expected):
        spread = np.std(estimates, axis=0) / count**0.5
        return np.abs(np.mean(estimates, axis=0) - expected) / np.maximum(spread, 1e-12)

    for frame, (values, slopes) in zip(frames, found, strict=True):
        assert np.std(values) > 1e-2
        assert standard_errors(values, exact[0]).max() < 5
        assert np.all(np.isfinite(slopes))
        biased = standard_errors(slopes, exact[1]).max() > 5
        assert biased == (frame is frozen_frame), "the weights' derivative is part of the gradient"


def frozen_frame(x):
    """The weighted frame without the derivative of its weights: the control of the estimator."""
    frame = weighted_frame(x)
    return sf.Frame(frame.elements, jax.lax.stop_gradient(frame.weights))


def vanishing_frame(x):
    """Weights that depend on the input and are zero for some elements, as a robust frame has."""
    frame = sf.pca_frame(x)
    scores = jax.nn.relu(frame.elements.linear[:, 0, 0]) ** 2
    return sf.Frame(frame.elements, scores / jnp.sum(scores))


def test_elements_of_zero_weight_are_never_drawn(keys):
    x = draw_cloud(0, 5, 2)

    def frame(x):
        full = sf.pca_frame(x)
        return sf.Frame(full.elements, jnp.zeros(4).at[2].set(1.0))

    draw = sf.sampled_average(backbone, frame, num_samples=50, **MOVES)
    average = sf.frame_average(backbone, frame, **MOVES)
    run = jax.jit(lambda key, x: (draw(key, x), average(x), vanishing_frame(x).weights))
    drawn, exact, weights = run(next(keys), x)
    np.testing.assert_allclose(drawn, exact, atol=1e-13)
    assert np.sum(weights == 0) == 2


@pytest.mark.parametrize(
    "group", [sf.orthogonal(3), sf.special_orthogonal(3), sf.octahedral()], ids=repr
)
def test_samples_of_a_group_average_invariants(keys, group):
    """The Haar mean of (a . R b)^2 is |a|^2 |b|^2 / 3, and the octahedral mean is the same."""
    vectors = np.random.default_rng(0).normal(size=(2, 3))
    fn = lambda pair: jnp.sum(pair[0] * jnp.array([1.0, -2.0, 0.5])) ** 2
    count = 20_000
    mean = sf.sampled_average(fn, group, in_actions=sf.vectors, out_actions=None, num_samples=count)
    expected = np.sum(vectors[0] ** 2) * 5.25 / 3
    # The standard deviation of cos^2 is 2 / sqrt(45), and no larger over the octahedral orbit.
    error = 5 * 3 * np.sqrt(1 / 5 - 1 / 9) / count**0.5
    np.testing.assert_allclose(jax.jit(mean)(next(keys), vectors), expected, rtol=error)
    assert abs(fn(vectors) - expected) > 0.05 * expected


def test_more_samples_are_closer(keys):
    x = draw_cloud(0, 5, 2)
    average = sf.frame_average(backbone, sf.pca_frame, **MOVES)

    @jax.jit
    def errors(x, keys):
        exact, found = average(x), []
        for num_samples, draws in zip((1, 16), keys, strict=True):
            sampled = sf.sampled_average(backbone, sf.pca_frame, num_samples=num_samples, **MOVES)
            drawn = jax.vmap(lambda key, fn=sampled: fn(key, x))(draws)
            found.append(jnp.mean((drawn - exact[None]) ** 2))
        return found

    one, many = errors(x, jax.random.split(next(keys), (2, 500)))
    assert 12 < one / many < 21  # 16, within the scatter of 500 draws


def test_packed_graphs_draw_independently(keys):
    x = jax.random.normal(next(keys), (10, 2))
    segment_ids = jnp.repeat(jnp.arange(2), 5)
    sampled = sf.sampled_average(
        lambda x: jnp.sin(x + 1),
        lambda x: sf.packed_pca_frame(x, segment_ids, 2),
        in_actions=sf.packed(sf.points, segment_ids),
        out_actions=sf.packed(sf.vectors, segment_ids),
    )
    draws = np.asarray(
        jax.jit(jax.vmap(lambda k: sampled(k, x)))(jax.random.split(next(keys), 400))
    )
    kinds = [
        len(np.unique(np.round(draws[:, part], 9), axis=0)) for part in (slice(5), slice(5, 10))
    ]
    assert kinds == [4, 4]
    assert len(np.unique(np.round(draws, 9), axis=0)) > 12


def test_same_key_same_draw(keys):
    x = draw_cloud(0, 5, 2)
    sampled = jax.jit(sf.sampled_average(backbone, sf.pca_frame, **MOVES))
    key = next(keys)
    np.testing.assert_array_equal(sampled(key, x), sampled(key, x))
    draws = {float(np.asarray(sampled(next(keys), x))[0, 0]) for _ in range(20)}
    assert len(draws) > 1


def test_sources_without_a_uniform_measure_are_refused():
    for group in (sf.euclidean(3), sf.special_euclidean(2), sf.translation(3)):
        with pytest.raises(ValueError, match="is not compact"):
            sf.sampled_average(backbone, group, **MOVES)
    with pytest.raises(ValueError, match="num_samples must be a positive integer, got 0"):
        sf.sampled_average(backbone, sf.pca_frame, num_samples=0, **MOVES)
