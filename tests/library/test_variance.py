"""The variance that an average returns beside the mean: how far the function is from equivariant."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

import symjax_frames as sf

CLOUD = np.random.default_rng(0).normal(size=(5, 2))
TURNS = np.asarray(sf.cyclic(5).elements.linear)
LAW = {"in_actions": sf.vectors, "out_actions": {"turns": sf.vectors, "stays": None}}
BOTH = {"with_variance": True, **LAW}


def backbone(x, module=jnp):
    """A vector for each point and a number; both depend on the orientation."""
    first = module.sin(x @ np.array([[0.3, 0.2], [0.6, -0.8]]) + 0.4)
    return {"turns": first + 100, "stays": 100 + module.sum(first**3)}


def equivariant(x):
    return {"turns": 3 * x, "stays": jnp.sum(x**2)}


def weights_of(x):
    scores = x[:, 0] ** 2 * np.array([1.0, 3.0, 0.0, 0.5, 1.0])
    return scores / scores.sum()


def turns(x):
    return sf.Frame(sf.Isometry(jnp.asarray(TURNS), jnp.zeros((5, 2))), weights_of(x))


def alone(x):
    return jax.tree.map(lambda leaf: leaf[:1], turns(x))._replace(weights=jnp.ones(1))


def expected(x, weights):
    terms = [(backbone(x @ turn, np), turn) for turn in TURNS]
    rows = {
        "turns": np.stack([term["turns"] @ turn.T for term, turn in terms]),
        "stays": np.stack([term["stays"] for term, _ in terms]),
    }
    mean = {name: np.tensordot(weights, row, 1) for name, row in rows.items()}
    return mean, {
        name: np.tensordot(weights, (row - mean[name][None]) ** 2, 1) for name, row in rows.items()
    }


def test_the_variance_is_that_of_the_pushed_terms():
    total = lambda tree: sum(map(jnp.sum, jax.tree.leaves(tree)))
    averages = {
        "frame": sf.frame_average(backbone, turns, **BOTH),
        "chunks": sf.frame_average(backbone, turns, batch_size=2, **BOTH),
        "aux": sf.frame_average(
            lambda x: (backbone(x), jnp.argmax(x)), turns, has_aux=True, **BOTH
        ),
        "group": sf.group_average(backbone, sf.cyclic(5), **BOTH),
        "alone": sf.frame_average(backbone, alone, **BOTH),
        "equivariant": sf.frame_average(equivariant, turns, **BOTH),
        "mean": sf.frame_average(backbone, turns, **LAW),
    }

    @jax.jit
    def run(x):
        found = {name: average(x) for name, average in averages.items()}
        slopes = jax.grad(lambda x: total(averages["equivariant"](x)[1]))(x)
        return found, slopes

    found, slopes = jax.device_get(run(CLOUD))
    found["aux"], aux = found["aux"]
    assert aux.shape == (5,)
    for name in ("frame", "chunks", "aux", "group"):
        weights = np.full(5, 0.2) if name == "group" else weights_of(CLOUD)
        for got, wanted in zip(found[name], expected(CLOUD, weights), strict=True):
            jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-11), got, wanted)
    jax.tree.map(np.testing.assert_array_equal, found["frame"][0], found["mean"])
    # What the backbone has of equivariance, at this input: none, and all of it.
    assert all(leaf.min() > 1e-4 for leaf in jax.tree.leaves(found["frame"][1]))
    assert not any(leaf.any() for leaf in jax.tree.leaves(found["alone"][1]))
    assert all(0 <= leaf.max() < 1e-28 for leaf in jax.tree.leaves(found["equivariant"][1]))
    assert np.abs(slopes).max() < 1e-13


def test_packed_graphs_have_variances_of_their_own_in_their_own_dtype(unhooked):
    segments = jnp.repeat(jnp.arange(2), 5)
    law = dict.fromkeys(("in_actions", "out_actions"), sf.packed(sf.vectors, segments))

    def packed(x):
        frames = jax.vmap(turns)(x.reshape(2, 5, 2))
        return jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), frames)

    vectors = lambda x: backbone(x)["turns"]
    average = sf.frame_average(vectors, packed, with_variance=True, **law)
    clouds = np.stack([CLOUD, CLOUD[::-1]])
    found = np.asarray(jax.jit(average)(clouds.reshape(10, 2))[1]).reshape(2, 5, 2)
    for cloud, got in zip(clouds, found, strict=True):
        np.testing.assert_allclose(got, expected(cloud, weights_of(cloud))[1]["turns"], rtol=1e-11)
    coarse = sf.frame_average(lambda x: x.astype(jnp.bfloat16), packed, with_variance=True, **law)
    mean, variance = jax.eval_shape(coarse, clouds.reshape(10, 2))
    assert mean.dtype == variance.dtype == jnp.bfloat16
    wave = sf.frame_average(
        lambda x: jax.lax.complex(*x[0]), turns, with_variance=True, **LAW | {"out_actions": None}
    )
    mean, variance = jax.eval_shape(wave, CLOUD)
    assert (mean.dtype, variance.dtype) == (complex, float)


def test_elements_that_are_split_over_a_mesh_have_one_variance():
    mesh = jax.make_mesh((2,), ("frame",), axis_types=(jax.sharding.AxisType.Auto,))
    law = {"in_actions": sf.vectors, "out_actions": None, "with_variance": True}
    number = lambda x: backbone(x)["stays"]
    average = sf.group_average(number, sf.cyclic(5), spmd_axis_name="frame", **law)
    with jax.set_mesh(mesh):
        mean, variance = jax.jit(average)(CLOUD)
    wanted = expected(CLOUD, np.full(5, 0.2))
    np.testing.assert_allclose(mean, wanted[0]["stays"], rtol=1e-12)
    np.testing.assert_allclose(variance, wanted[1]["stays"], rtol=1e-11)
