"""Integers of NumPy are integers, and a name that was not called is said to be one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import symjax_frames as sf
from tests.helpers.clouds import draw_cloud

pytestmark = pytest.mark.usefixtures("unhooked")

LAW = {"in_actions": sf.vectors, "out_actions": sf.vectors}
TWO = np.uint8(2)  # its negative is 254


@pytest.mark.parametrize(
    "given,expected",
    [
        (lambda: sf.tensors(TWO), sf.tensors(2)),
        (lambda: sf.fields(channel_axes=TWO), sf.fields(channel_axes=2)),
    ],
)
def test_integers_of_numpy_make_the_same_object(given, expected):
    assert given() is expected


def test_integers_of_numpy_are_options():
    x = jnp.asarray(draw_cloud(0, 5, 2))
    fn = lambda mask, x: jnp.sin(x + 1)
    law = {"in_actions": (None, sf.points), "out_actions": sf.vectors, "frame_argnums": np.int64(1)}
    key, spare = jax.random.key(0), jnp.ones(())
    average = sf.frame_average(fn, sf.pca_frame, batch_size=TWO, **law)
    assert jax.eval_shape(average, spare, x).shape == (5, 2)
    sampled = sf.sampled_average(fn, sf.pca_frame, num_samples=TWO, **law)
    assert jax.eval_shape(sampled, key, spare, x).shape == (5, 2)
    capacity = {"capacity": (TWO,), "max_elements": np.int16(4)}
    assert jax.eval_shape(lambda x: sf.robust_frame(x, **capacity), x).weights.shape == (4,)
    smooth = lambda x: sf.canonical_frame(x, sharpness=np.float32(3))
    assert jax.eval_shape(smooth, x).weights.shape == (4,)
    packed = lambda x: sf.packed_pca_frame(x, jnp.zeros(5, int), TWO)
    assert jax.eval_shape(packed, x).weights.shape == (4, 2)
    scored = lambda s: sf.scored_frame(s, sf.cyclic(4), capacity=TWO)
    assert jax.eval_shape(scored, jnp.zeros(4)).weights.shape == (2,)
    assert len(sf.quadrature(sf.special_orthogonal(2), TWO).weights) == 3
    groups = sf.euclidean(TWO), sf.cyclic(TWO), sf.signs(TWO, proper=True)
    assert [group.name for group in groups] == ["E(2)", "C2", "signs(2)+"]
    for wrong in (np.bool_(True), True, np.float64(2), np.int64(0)):
        with pytest.raises(ValueError, match="batch_size must be a positive integer, got"):
            sf.frame_average(fn, sf.pca_frame, batch_size=wrong, **law)


@pytest.mark.parametrize(
    "call,message",
    [
        (lambda: sf.frame_average(abs, sf.pca_frame, in_actions=sf.tensors, out_actions=None),
         r"in_actions must be an Action or None.*the function tensors; call it, as tensors\(...\)"),
        (lambda: sf.frame_average(abs, sf.pca_frame, in_actions=None, out_actions={"a": sf.fields}),
         r"out_actions\['a'\] must be.*the function fields; call it"),
        (lambda: sf.group_average(abs, sf.cyclic, **LAW), r"group must be.*cyclic; call it"),
    ],
)  # fmt: skip
def test_a_factory_that_was_not_called(call, message):
    with pytest.raises(ValueError, match=message):
        call()
