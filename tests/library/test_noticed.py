"""Mistakes that only values show: noticed outside of `jax.jit`, and legitimate uses left alone."""

import functools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import symjax_frames as sf
from tests.helpers.clouds import draw_cloud

pytestmark = pytest.mark.usefixtures("unhooked")

LAW = {"in_actions": (sf.points, None), "out_actions": None}
CLOUD = jnp.asarray(draw_cloud(0, 6, 2))
MASK = jnp.arange(6) < 4
PADDED = jnp.where(MASK[:, None], CLOUD, 0)
KEY = jax.random.key(0)


def total(x, mask):
    x = x["x"] if isinstance(x, dict) else x
    return jnp.sum(jnp.where(mask[:, None], jnp.sin(x + 1), 0))


def reweighted(weights):
    return lambda x: sf.pca_frame(x)._replace(weights=jnp.asarray(weights))


def average(frame, **options):
    return sf.frame_average(total, frame, **LAW, **options)


@pytest.mark.parametrize(
    "weights,got",
    [([0.75] * 4, "3"), ([0.125] * 4, "0.5"), ([0.0] * 4, "0"), ([0.25, 0.25, 0.25, 0.26], "1.01")],
)
def test_weights_that_do_not_sum_to_one(weights, got):
    for fn in (average(reweighted(weights)), functools.partial(draw(reweighted(weights)), KEY)):
        with pytest.raises(ValueError, match=f"weights of a Frame must sum to 1 .*got {got}$"):
            fn(CLOUD, MASK)
    # Within jit nothing is known of them: the sum is what was asked for.
    jax.eval_shape(average(reweighted(weights)), CLOUD, MASK)


def draw(frame):
    return sf.sampled_average(total, frame, **LAW)


def test_weights_that_are_right_up_to_rounding_are_left_alone():
    signed = [1.5, -0.5, 0.0, 0.0]
    coarse = np.full(4, 0.25).astype(jnp.bfloat16) * np.asarray([1, 1.01, 1, 0.99], jnp.bfloat16)
    for weights in (signed, coarse, [np.nan] * 4):
        average(reweighted(weights))(CLOUD, MASK)
    with pytest.raises(ValueError, match="must not be negative, got -0.5"):
        draw(reweighted(signed))(KEY, CLOUD, MASK)


def test_a_mask_that_the_frame_is_not_given():
    # The rows of the cloud that the mask hides are all the same.
    late = lambda frame, **options: sf.frame_average(
        lambda x, mask: total(x, mask), frame, in_actions=sf.points, out_actions=None, **options
    )
    for call in (
        lambda: average(sf.pca_frame)(PADDED, MASK),
        lambda: average(functools.partial(sf.pca_frame, group="SE"))(PADDED, MASK),
        lambda: average(sf.canonical_frame)(jnp.where(MASK[:, None], CLOUD, 5), MASK),
        lambda: late(sf.pca_frame)(PADDED, mask=MASK),
        lambda: draw(sf.pca_frame)(KEY, PADDED, MASK),
    ):
        with pytest.warns(UserWarning, match=r"2 of 6 points look like padding.*frame_argnums"):
            call()


def test_what_is_no_forgotten_mask_is_left_alone():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        average(sf.pca_frame)(CLOUD, MASK)  # a choice of some points
        average(sf.pca_frame)(CLOUD, MASK.at[4].set(True))  # and of all but one
        average(sf.pca_frame)(PADDED, MASK | True)  # points that coincide
        average(sf.pca_frame, frame_argnums=(0, 1))(PADDED, MASK)
        average(lambda x: sf.pca_frame(x, MASK))(PADDED, MASK)
        average(functools.partial(sf.pca_frame, mask=MASK))(PADDED, MASK)
        average(lambda tree, mask=None: sf.pca_frame(tree["x"]))({"x": PADDED}, MASK)
        sf.group_average(total, sf.cyclic(3), **LAW)(PADDED, MASK)
        jax.eval_shape(average(sf.pca_frame), PADDED, MASK)


def test_nodes_of_no_graph():
    from_one = jnp.array([1, 1, 1, 2, 2, 2])
    with pytest.warns(UserWarning, match="3 nodes are in none of the num_segments=2 graphs"):
        sf.packed_pca_frame(CLOUD, from_one, 2)
    message = "must be from 0 to 1, with one other value for padding, got 2, 3"
    for ids in (jnp.array([0, 0, 1, 1, 2, 3]), np.array([0, 3, 1, 1, 2, 3])):
        with pytest.raises(ValueError, match=message):
            sf.packed_pca_frame(CLOUD, ids, 2)
        # The graph of a row is known to the action even where the cloud is traced.
        frame = lambda x: sf.packed_pca_frame(x, jnp.array([0, 0, 0, 1, 1, 1]), 2)
        law = {"in_actions": sf.packed(sf.points, ids), "out_actions": None}
        with pytest.raises(ValueError, match=message):
            jax.eval_shape(sf.frame_average(lambda x: x, frame, **law), CLOUD)


@pytest.mark.parametrize("beyond", [2, -1])
def test_padding_nodes_are_left_alone_and_average_to_zero(beyond):
    ids = jnp.array([0, 0, 1, 1, beyond, beyond])

    def moved(x, ids):
        frame = lambda x: sf.packed_pca_frame(x, ids, 2)
        law = {"in_actions": sf.packed(sf.points, ids), "out_actions": sf.packed(sf.points, ids)}
        return sf.frame_average(lambda x: jnp.sin(x + 1), frame, **law)(x)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sf.packed_pca_frame(PADDED, ids, 2)
        sf.packed_pca_frame(CLOUD, ids, 2, MASK)
    result, short = jax.jit(lambda x, ids: (moved(x, ids), moved(x[:4], ids[:4])))(PADDED, ids)
    np.testing.assert_allclose(result[:4], short, atol=1e-14)
    np.testing.assert_array_equal(result[4:], np.zeros((2, 2)))
