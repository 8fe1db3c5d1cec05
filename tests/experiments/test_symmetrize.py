"""Frames and averages from the keys of a configuration."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import symjax_frames as sf
from experiments import symmetrize
from experiments.tasks.nbody.config import NBodyModelConfig

CLOUD = np.random.default_rng(0).normal(size=(6, 3)) + 1.0
MASK = np.array([True] * 5 + [False])


def frame_of(*, attributes=None, **model):
    frame = symmetrize.make_frame(NBodyModelConfig(**model), attributes=attributes)
    return jax.tree.map(np.asarray, jax.jit(frame)(CLOUD, MASK))


@pytest.mark.parametrize(
    "group,closure,count",
    [
        ("E", "signs", 8),
        ("SE", "signs", 4),
        ("E", "permutations", 48),
        ("SE", "permutations", 24),
        ("E", "icosahedral", 120),
        ("SO", "icosahedral", 60),
    ],
)
def test_closures_have_their_elements(group, closure, count):
    frame = frame_of(frame="pca", group=group, closure=closure)
    assert frame.weights.shape == (count,)
    distance = np.abs(frame.elements.linear[:, None] - frame.elements.linear[None]).max((2, 3))
    assert (distance < 1e-6).sum() == count, "every element once"
    improper = np.linalg.det(frame.elements.linear) < 0
    assert improper.sum() == (count / 2 if group == "E" else 0)


def test_robust_frames_have_all_options_of_the_library():
    options = {"group": "SE", "threshold": 0.3, "max_elements": 7, "capacity": (3, 4)}
    attributes = jnp.arange(6.0)
    frame = frame_of(frame="robust", attributes=attributes, **options)
    expected = functools.partial(sf.robust_frame, attributes=attributes, **options)
    assert frame.weights.shape == (7,)
    # One compiled program in another order of the same sums.
    for one, other in zip(
        jax.tree.leaves(frame), jax.tree.leaves(jax.jit(expected)(CLOUD, MASK)), strict=True
    ):
        np.testing.assert_allclose(one, other, atol=1e-12)


@pytest.mark.parametrize("group", ["O", "SO", "E", "SE"])
def test_quadratures_turn_about_the_centroid_or_the_origin(group):
    frame = frame_of(frame="quadrature", group=group, quadrature_degree=3)
    centre = CLOUD[:5].mean(axis=0) if group in ("E", "SE") else np.zeros(3)
    shifts = np.broadcast_to(centre, frame.elements.shift.shape)
    np.testing.assert_allclose(frame.elements.shift, shifts, atol=1e-12)
    np.testing.assert_allclose(frame.weights.sum(), 1)
    signs = set(np.round(np.linalg.det(frame.elements.linear)))
    assert signs == ({-1, 1} if group in ("O", "E") else {1})


def test_without_a_frame_there_is_the_centroid_and_the_function_as_it_is():
    config = NBodyModelConfig()
    (linear, shift), weights = frame_of()
    np.testing.assert_allclose(linear[0], np.eye(3))
    np.testing.assert_allclose(shift[0], CLOUD[:5].mean(axis=0))
    assert weights.tolist() == [1]
    fn = jnp.sum
    assert symmetrize.evaluated(fn, config, in_actions=sf.points, out_actions=None) is fn


@pytest.mark.parametrize("detach", [False, True])
def test_only_a_detached_frame_is_a_constant(detach):
    config = NBodyModelConfig(frame="pca", detach=detach)

    def axes(cloud):
        return jnp.sum(symmetrize.make_frame(config)(cloud).elements.linear[0] ** 3)

    assert np.any(jax.jit(jax.grad(axes))(CLOUD)) != detach
