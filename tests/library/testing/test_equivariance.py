import jax
import jax.numpy as jnp
import numpy as np
import pytest

import symjax_frames as sf
from symjax_frames.testing import assert_equivariant, equivariance_error, generic_cloud, hard_clouds
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
