import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import symjax_frames as sf
from symjax_frames.testing import hard_clouds
from tests.helpers.clouds import padded

POINTS = 9


def test_capacity_that_is_too_small_is_told():
    clouds = {name: hard_clouds()[name] for name in ("cube", "square", "water")}
    x, masks = padded(clouds, "float64", POINTS)
    needed = sf.frame_capacity(sf.robust_frame, x, masks)
    assert needed == ((8, 3), 48)
    dropped = {
        (): (0, 0, 0),
        (("capacity", (4, 3)),): (0.5, 0, 0),
        (("capacity", (8, 2)),): (1 / 3, 0, 0),
        # A capacity that fits one of a batch is told for that one.
        (("max_elements", 16),): (32 / 48, 0, 0),
    }

    @jax.jit
    @jax.vmap
    def run(x, mask):
        found = []
        for options in dropped:
            frame = functools.partial(sf.robust_frame, **needed._asdict() | dict(options))
            found.append(sf.frame_diagnostics(frame, x, mask))
        return found, functools.partial(sf.robust_frame, **needed._asdict())(x, mask).weights

    diagnostics, weights = run(x, masks)
    for expected, found in zip(dropped.values(), diagnostics, strict=True):
        for row, share in enumerate(expected):
            if share is not None:
                np.testing.assert_allclose(found.dropped[row], share, atol=1e-12)
        np.testing.assert_allclose(found.total_weight, np.ones(3), atol=1e-14)
        if expected == (0, 0, 0):
            np.testing.assert_array_equal(found.num_elements, [48, 16, 4])
            np.testing.assert_array_equal(np.sum(weights > 0, axis=1), [48, 16, 4])
            np.testing.assert_array_equal(found.margin, np.ones(3))
            np.testing.assert_array_equal(found.num_choices[:2], [[8, 3], [4, 2]])
            assert weights.shape == (3, 48)
    # Attributes may be bound for all clouds or given for each.
    marks = np.arange(POINTS)
    marked = functools.partial(sf.robust_frame, attributes=jnp.asarray(marks))
    by_cloud = jnp.asarray(np.broadcast_to(marks, (1, POINTS)))
    # Of the square, in its plane.
    square = x[1:2, :, :2], masks[1:2]
    given = sf.frame_capacity(sf.robust_frame, *square, attributes=by_cloud)
    assert sf.frame_capacity(marked, *square) == given
    assert given.max_elements < 8
    # The cube needs more than the most, and no other cloud.
    with pytest.raises(ValueError, match=r"points\[0\] needs at least 48 elements, most=47: "):
        sf.frame_capacity(sf.robust_frame, x, masks, most=47)


def test_hopeless_clouds_are_refused_at_a_bounded_cost():
    """To count all 31 million elements takes a minute and gigabytes."""
    sphere = np.random.default_rng(0).normal(size=(2, 20_000, 3))
    sphere[1] /= np.linalg.norm(sphere[1], axis=1, keepdims=True)
    with pytest.raises(ValueError, match=r"points\[1\] needs .*attributes.*pca_frame.*sampled"):
        sf.frame_capacity(sf.robust_frame, jnp.asarray(sphere, jnp.float32))


def test_diagnostics_of_other_frames():
    cube, generic = hard_clouds()["cube"], hard_clouds()["offset 1e3"]
    smooth = functools.partial(sf.canonical_frame, sharpness=3.0)
    counts = {sf.pca_frame: 8, sf.canonical_frame: 1, smooth: 8}

    @jax.jit
    def run(*clouds):
        return [[sf.frame_diagnostics(frame, cloud) for cloud in clouds] for frame in counts]

    for (frame, count), (bad, good) in zip(counts.items(), run(cube, generic), strict=True):
        assert good.num_elements == count
        if frame is not smooth:
            assert bad.num_elements == count
            assert bad.dropped == good.dropped == 0
            assert bad.margin < 1e-12 < 1e-3 < good.margin


def test_diagnostics_of_frames_of_your_own():
    ids = jnp.array([0, 0, 0, 0, 1, 1, 1, 1])
    frames = {
        "halves": lambda x: sf.pca_frame(x)._replace(weights=jnp.array([0.5, 0, 0, 0.25] * 2) / 2),
        "masked": lambda x, mask: sf.pca_frame(x, mask, group="SE"),
        "packed": lambda x: sf.packed_pca_frame(x, ids, 2, group="SE"),
        "rule": sf.quadrature(sf.special_orthogonal(3), 1),
    }
    masks = {"masked": jnp.arange(8) < 6}

    @jax.jit
    def run(x):
        return {name: sf.frame_diagnostics(frames[name], x, masks.get(name)) for name in frames}

    found = run(jnp.asarray(np.random.default_rng(0).normal(size=(8, 3))))
    for each in found.values():
        assert each.dropped is each.margin is each.num_choices is None
    counts = {name: each.num_elements.tolist() for name, each in found.items()}
    order = len(frames["rule"].weights)
    assert counts == {"halves": 4, "masked": 4, "packed": [4, 4], "rule": order}
    assert found["halves"].total_weight == 0.75
    for name in ("masked", "packed", "rule"):
        np.testing.assert_allclose(found[name].total_weight, 1)


CLOUD = jnp.eye(3)
MISTAKES = {
    "frame must return a Frame, got tuple": lambda: sf.frame_diagnostics(jnp.shape, CLOUD),
    "frame must be a function that returns a Frame": lambda: sf.frame_diagnostics(
        sf.signs(3), CLOUD
    ),
    "most must be a positive integer": lambda: sf.frame_capacity(
        sf.robust_frame, CLOUD[None], most=0
    ),
    "frame must be robust_frame or a partial": lambda: sf.frame_capacity(sf.pca_frame, CLOUD[None]),
    "frame must not bind a mask": lambda: sf.frame_diagnostics(
        functools.partial(sf.robust_frame, mask=jnp.ones(3, bool)), CLOUD
    ),
    r"mask must be of shape \(1, 3\)": lambda: sf.frame_capacity(
        sf.robust_frame, CLOUD[None], jnp.ones(3, bool)
    ),
    "points must be a batch of clouds": lambda: sf.frame_capacity(sf.robust_frame, CLOUD),
}


@pytest.mark.usefixtures("unhooked")
@pytest.mark.parametrize("message", MISTAKES)
def test_mistakes_are_named(message):
    with pytest.raises(ValueError, match=message):
        MISTAKES[message]()
