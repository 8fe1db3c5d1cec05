import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import symjax_frames as sf
from symjax_frames.frames import joint_cloud
from symjax_frames.testing import hard_clouds
from tests.helpers.clouds import draw_motions

COUNT = 8
WEIGHT = np.random.default_rng(1).normal(size=(3, 4))
FRAMES = {
    "pca": sf.pca_frame,
    "robust": functools.partial(sf.robust_frame, capacity=(4, 4), max_elements=32),
}


def backbone(x, v):
    return jnp.sum(jnp.sin(x @ jnp.asarray(WEIGHT) + 1) * jnp.cos(v @ jnp.asarray(WEIGHT) + 0.3))


def clouds():
    """Clouds whose points alone do not tell how vectors that come with them lie, 8 points each."""
    return np.stack(
        [
            np.asarray(hard_clouds()["cube"]),
            np.outer(np.arange(COUNT), [1.0, 2, 3]),  # a line
            np.ones((COUNT, 3)),  # a point
        ]
    )


def test_a_joint_frame_is_exact_where_that_of_the_points_is_not():
    x, motions = clouds(), draw_motions("E", 3, 4)
    v = np.random.default_rng(0).normal(size=x.shape)
    orbit = np.stack([x, *[np.stack([motions.move(c)[k] for c in x]) for k in range(4)]])
    turned = [np.stack([motions.move(c, shifts=False)[k] for c in v]) for k in range(4)]
    # In another order, too: of points that tie, those that do not fit are the last.
    order = np.random.default_rng(1).permutation(COUNT)
    orbit[1:], turned = orbit[1:, :, order], np.stack(turned)[:, :, order]

    @jax.jit
    @jax.vmap
    @jax.vmap
    def run(x, v):
        found = {}
        for name, frame in FRAMES.items():
            joint = lambda x, v, frame=frame: frame(*joint_cloud(x, v))
            law = {"in_actions": (sf.points, sf.vectors), "out_actions": None}
            found[name] = (
                sf.frame_average(backbone, joint, frame_argnums=(0, 1), **law)(x, v),
                sf.frame_average(backbone, frame, **law)(x, v),
            )
        return found

    found = jax.device_get(run(orbit, np.stack([v, *turned])))
    for name, (joint, alone) in found.items():
        error = lambda values: np.max(np.abs(values[1:] - values[:1]), axis=0)
        assert np.max(error(joint)) < 1e-11, name
        # The control. A robust frame of a cube alone would need 48 elements.
        assert np.min(error(alone)) > 1e-3, name


@jax.jit
def ends(x, v, mask, cell):
    several = jnp.stack([v, 2 * v], axis=1)
    return {
        "vectors": joint_cloud(x, v, mask),
        "other unit": joint_cloud(x, 7 * v, mask),
        "scaled": joint_cloud(x, v, mask, scale=2.0),
        "several": joint_cloud(x, several, mask, scale=2.0),
        "shared": joint_cloud(x, mask=mask, shared=cell),
        "both": joint_cloud(x, v, mask, shared=cell, scale=2.0),
        "at rest": joint_cloud(x, 0 * v),
        "slope": jax.grad(lambda v: jnp.sum(joint_cloud(x, v).points ** 3))(0 * v),
    }


def test_the_ends_of_vectors_are_points_of_the_cloud():
    rng = np.random.default_rng(0)
    x, v, cell = rng.normal(size=(5, 3)) + 4, rng.normal(size=(5, 3)), 9 * np.eye(3)
    mask = np.arange(5) < 4
    found = jax.device_get(ends(np.where(mask[:, None], x, 1e6), v, mask, cell))
    real, centroid = x[:4], x[:4].mean(axis=0)
    size = np.sqrt(np.mean(np.sum((real - centroid) ** 2, axis=1)))
    scale = size / np.sqrt(np.mean(np.sum(v[:4] ** 2, axis=1)))
    expected = {
        "vectors": [real + scale * v[:4]],
        "other unit": [real + scale * v[:4]],
        "scaled": [real + 2 * v[:4]],
        "several": [np.stack([real + 2 * v[:4], real + 4 * v[:4]], axis=1).reshape(-1, 3)],
        "shared": [centroid + size * np.eye(3)],
        "both": [real + 2 * v[:4], centroid + 2 * cell],
    }
    for name, parts in expected.items():
        cloud, kept = found[name]
        np.testing.assert_allclose(
            cloud[kept], np.concatenate([real, *parts]), atol=1e-13, err_msg=name
        )
    np.testing.assert_array_equal(found["at rest"].points[5:], found["at rest"].points[:5])
    assert np.all(np.isfinite(found["slope"]))


def test_wrong_vectors_are_explained(unhooked):
    x = jnp.ones((4, 3))
    for call, message in (
        (lambda: joint_cloud(x), "needs vectors, shared, or both"),
        (
            lambda: joint_cloud(x, x[:2]),
            r"vectors must have shape \(points, dim\).*got shape \(2, 3\)",
        ),
        (
            lambda: joint_cloud(x, shared=x[0]),
            r"shared must have shape \(rows, dim\).*got shape \(3,\)",
        ),
        (lambda: joint_cloud(x.astype("float32"), x), "no more digits than the float32 points"),
        (lambda: joint_cloud(x, x, scale=0), "scale must be a positive number.*got 0"),
        (lambda: joint_cloud(x, x, jnp.ones(3, bool)), "mask must be boolean"),
    ):
        with pytest.raises(ValueError, match=message):
            jax.eval_shape(call)
