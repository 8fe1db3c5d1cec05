"""Data of fewer digits than the frame: moved in the dtype of the frame, returned in their own."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import symjax_frames as sf
from tests.helpers.clouds import draw_cloud

BF16 = jnp.bfloat16
LAW = {
    "in_actions": (sf.points, sf.vectors),
    "out_actions": {"moved": sf.points, "stress": sf.tensors(2), "spin": sf.pseudovectors},
}
WEIGHT = np.random.default_rng(3).normal(size=(3, 3))


def network(x, v):
    hidden = jnp.sin(x @ WEIGHT.astype(x.dtype) + 1) + v.astype(x.dtype)
    outer = hidden[:, :, None] * hidden[:, None, :]
    return {"moved": x + hidden, "stress": outer, "spin": jnp.roll(hidden, 1, axis=1) ** 2}


def in_bf16(x, v):
    """The network with its outputs rounded, as one that computes in bfloat16 has them."""
    return jax.tree.map(lambda y: y.astype(BF16), network(x, v))


def test_outputs_are_rounded_to_their_dtype_once():
    x = jnp.asarray(draw_cloud(2, 6, 3), jnp.float32)
    v = jnp.asarray(np.random.default_rng(1).normal(size=(6, 3)), jnp.float32)
    frames = {"pca": sf.pca_frame, "rule": sf.quadrature(sf.orthogonal(3), 1, jnp.float32)}

    def rounded_first(x, v):
        # What an average in bfloat16 itself makes of it.
        coarse = lambda x: jax.tree.map(lambda leaf: leaf.astype(BF16), sf.pca_frame(x))
        return sf.frame_average(in_bf16, coarse, **LAW)(x.astype(BF16), v.astype(BF16))

    @jax.jit
    def run(x, v):
        found = {}
        for name, frame in frames.items():
            exact = lambda x, v: jax.tree.map(lambda y: y.astype(jnp.float32), in_bf16(x, v))
            found[name] = [sf.frame_average(fn, frame, **LAW)(x, v) for fn in (in_bf16, exact)]
        # Vectors that are given in fewer digits than the cloud.
        found["given"] = [
            sf.frame_average(network, sf.pca_frame, **LAW)(x, given)
            for given in (v.astype(BF16), v.astype(BF16).astype(jnp.float32))
        ]
        return found, rounded_first(x, v)

    found, coarse = run(x, v)
    half = float(jnp.finfo(BF16).eps) / 2
    for name in frames:
        mixed, exact = found[name]
        for leaf in LAW["out_actions"]:
            assert mixed[leaf].dtype == BF16
            error = np.abs(np.asarray(mixed[leaf], float) - np.asarray(exact[leaf], float))
            # One rounding of each number, on top of that of float32.
            assert np.all(error <= half * np.abs(exact[leaf]) + 1e-6), (name, leaf)
    # The control: elements that are themselves rounded do worse.
    wrong = np.abs(np.asarray(coarse["stress"], float) - np.asarray(found["pca"][1]["stress"]))
    assert np.max(wrong) > 4 * half
    mixed, exact = found["given"]
    for leaf in LAW["out_actions"]:
        assert mixed[leaf].dtype == jnp.float32
        # The vectors are rounded once more, after they are moved.
        np.testing.assert_allclose(mixed[leaf], exact[leaf], atol=60 * half, err_msg=leaf)
        assert np.max(np.abs(np.asarray(mixed[leaf]) - np.asarray(exact[leaf]))) > 0


@pytest.mark.parametrize("action", [sf.points, sf.vectors, sf.pseudovectors, sf.tensors(2)])
def test_actions_keep_the_dtype_of_the_data(action):
    g = sf.Isometry.identity(3, jnp.float32)
    x = jnp.ones((3, 3), BF16)
    shapes = jax.eval_shape(lambda g, x: (action.push(g, x), action.pull(g, x)), g, x)
    assert {leaf.dtype for leaf in shapes} == {jnp.dtype(BF16)}
    with pytest.raises(ValueError, match="float64 cannot be moved.*float32"):
        jax.eval_shape(action.push, g, jnp.ones((3, 3), jnp.float64))
    halves = jax.tree.map(lambda leaf: leaf.astype(jnp.float16), g)
    with pytest.raises(ValueError, match="bfloat16 cannot be moved.*float16"):
        jax.eval_shape(action.push, halves, x)


def test_a_group_moves_arguments_of_several_dtypes():
    law = {"in_actions": (sf.vectors, sf.vectors), "out_actions": sf.vectors}
    x, v = jnp.ones((6, 2), BF16), jnp.ones((6, 2), jnp.float32)
    for average in (
        sf.group_average(lambda x, v: v, sf.cyclic(3), **law),
        functools.partial(
            sf.sampled_average(lambda x, v: v, sf.orthogonal(2), **law), jax.random.key(0)
        ),
    ):
        # Whichever of them comes first.
        for args in ((x, v), (v, x)):
            assert jax.eval_shape(average, *args).dtype == args[1].dtype
