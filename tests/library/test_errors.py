"""What a newcomer gets wrong, and what the library says."""

import jax
import jax.numpy as jnp
import pytest

import symjax_frames as sf
from symjax_frames.testing import assert_equivariant, generic_cloud

pytestmark = pytest.mark.usefixtures("unhooked")

CLOUD = jnp.arange(15.0).reshape(5, 3) ** 2
IDENTITY = lambda *args: args[0]


def average(fn=IDENTITY, frame=sf.pca_frame, in_actions=sf.points, out_actions=sf.points, **kwargs):
    return sf.frame_average(fn, frame, in_actions=in_actions, out_actions=out_actions, **kwargs)


def sampled(source):
    return sf.sampled_average(IDENTITY, source, in_actions=sf.points, out_actions=sf.points)


@pytest.mark.parametrize(
    "points,mask,message",
    [
        (jnp.zeros((0, 3)), None, r"at least one point .* got \(0, 3\)"),
        (CLOUD.T, None, r"\(3, 5\) are 3 points in 5 dimensions.*is the array transposed"),
        (jnp.ones((5, 3), int), None, "points must be floating, got int64"),
        (jnp.ones((2, 5, 3)), None, r"shape \(points, dim\).*got shape \(2, 5, 3\).*jax.vmap"),
        ([[1.0, 2.0]], None, "points must be one cloud.*got list"),
        (CLOUD, jnp.ones(4, bool), r"mask must be boolean of shape \(5,\).*got shape \(4,\)"),
        (CLOUD, jnp.ones(5), r"mask must be boolean.*dtype float64"),
        (CLOUD, [True] * 5, "mask must be boolean.*got list"),
    ],
)
def test_clouds(points, mask, message):
    for function in (sf.pca_frame, sf.spectral_gap):
        with pytest.raises(ValueError, match=message):
            function(points, mask)


def test_groups_by_name():
    with pytest.raises(ValueError, match="group must be one of T, O, SO, E, SE, got 'SU'"):
        sf.pca_frame(CLOUD, group="SU")
    with pytest.raises(ValueError, match="group must be a Group.*got 'C4'"):
        sf.group_average(IDENTITY, "C4", in_actions=None, out_actions=None)
    with pytest.raises(ValueError, match=r"group E\(3\) is infinite.*sampled_average"):
        sf.group_average(IDENTITY, sf.euclidean(3), in_actions=sf.points, out_actions=sf.points)


def test_packed_arguments():
    with pytest.raises(ValueError, match=r"segment_ids must be integers of shape \(5,\)"):
        sf.packed_pca_frame(CLOUD, jnp.zeros(4, int), 1)
    with pytest.raises(ValueError, match="num_segments must be a positive integer, got 0"):
        sf.packed_pca_frame(CLOUD, jnp.zeros(5, int), 0)
    with pytest.raises(ValueError, match="one set a graph.*packed"):
        packed = sf.packed(sf.points, jnp.zeros(5, int))
        frame = lambda x: sf.packed_pca_frame(x, jnp.zeros(5, int), 1)
        jax.eval_shape(average(frame=frame, in_actions=packed, out_actions=None), CLOUD)


@pytest.mark.parametrize(
    "call,message",
    [
        (lambda: average(in_actions=(sf.points, None))(CLOUD), "at argument: .* tuple of length 2"),
        (
            lambda: average(
                frame=lambda tree: sf.pca_frame(tree["x"]),
                in_actions=({"x": sf.points, "v": sf.vectors},),
            )({"x": CLOUD, "w": CLOUD}),
            r"at argument\[0\]: .*\['v', 'x'\].*\['w', 'x'\]",
        ),
        (
            lambda: average(in_actions=(sf.points, sf.vectors))(CLOUD, "text"),
            r"argument\[1\] has an action but is no floating array, got str",
        ),
        (
            lambda: average(in_actions=(sf.points, sf.vectors))(CLOUD, jnp.ones((5, 3), int)),
            r"argument\[1\] has an action but is no floating array, got int64 array",
        ),
        (
            lambda: average(in_actions=(sf.points, sf.vectors))(CLOUD.astype("float32"), CLOUD),
            r"argument\[1\]: vectors of dtype float64 .* dtype float32",
        ),
        (
            lambda: average(in_actions=(sf.points, sf.vectors))(CLOUD, jnp.ones((5, 2))),
            r"argument\[1\]: vectors in 3 dimensions .* got shape \(5, 2\)",
        ),
        (lambda: average(out_actions=(sf.points, None))(CLOUD), r"at output: .* tuple of length 2"),
        (
            lambda: average(lambda x: {"a": x, "n": jnp.arange(3)}, out_actions=sf.points)(CLOUD),
            r"output\['n'\] must be a floating array to be averaged, got int64 array",
        ),
        (
            lambda: average(lambda x: x[:, :2])(CLOUD),
            r"output: points in 3 dimensions .* got shape \(5, 2\)",
        ),
        (lambda: average(in_actions="points"), "in_actions must be an Action or None.*'points'"),
        (
            lambda: average(out_actions={"x": 3}),
            r"out_actions\['x'\] must be an Action or None .*, got 3",
        ),
        (lambda: average(frame_argnums=1)(CLOUD), "frame_argnums=.*beyond the 1 positional"),
        (lambda: average(frame_argnums=-1), "frame_argnums must be non-negative integers, got -1"),
        (lambda: average(batch_size=0), "batch_size must be a positive integer, got 0"),
        (lambda: average(batch_size=2, spmd_axis_name="frame"), "give one of them"),
    ],
)
def test_transforms_name_the_place(call, message):
    # Traced only: what is wrong is seen without computing anything.
    with pytest.raises(ValueError, match=f"(?s){message}"):
        jax.eval_shape(call)


@pytest.mark.parametrize(
    "call,message",
    [
        (lambda: average(frame=sf.euclidean(3)), "frame must be a function.*got Group"),
        (
            lambda: average(frame=sf.pca_frame(CLOUD)),
            "frame must be a function.*got Frame.*one input.*give the function that makes it",
        ),
        (lambda: average(frame="pca"), "frame must be a function.*got str"),
        (lambda: average(frame=lambda x: (x, x))(CLOUD), "must return a Frame, got tuple"),
        (
            lambda: average(frame=lambda x: sf.Frame(sf.pca_frame(x).elements, jnp.ones(4)))(CLOUD),
            "must share a leading frame axis",
        ),
        (lambda: sf.close("pca", sf.signs(3)), "frame must be a function"),
        (lambda: sampled(sf.pca_frame)(CLOUD), "must be a PRNG key, got shape .5, 3."),
        (lambda: sampled(sf.orthogonal(3))(0, CLOUD), "must be a PRNG key, got int"),
        (lambda: sampled("SO"), "source must be a function"),
        (
            lambda: sf.packed(sf.points, [0, 0]),
            "segment_ids must be a vector of integers.*got list",
        ),
        (lambda: sf.packed("points", jnp.zeros(2, int)), "action must be an Action or None"),
        (
            lambda: average(
                frame=lambda x: sf.packed_pca_frame(x, jnp.arange(5), 5),
                out_actions=sf.packed(sf.points, jnp.arange(5)),
            )(CLOUD),
            r"argument\[0\]: points are moved by one element.*packed\(action, segment_ids\)",
        ),
        (
            lambda: average(in_actions=sf.packed(sf.points, jnp.zeros(5, int)))(CLOUD),
            "packed data need a packed frame",
        ),
        (
            lambda: average(out_actions=sf.packed(None, jnp.zeros(5, int)))(CLOUD),
            "packed data need a packed frame",
        ),
    ],
)
def test_mixed_up_nouns(call, message):
    # Traced only: what is wrong is seen without computing anything.
    with pytest.raises(ValueError, match=f"(?s){message}"):
        jax.eval_shape(call)


def test_an_error_of_the_backbone_stays_its_own():
    def broken(x):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        jax.eval_shape(average(broken), CLOUD)


def test_generators_and_assertions(keys):
    with pytest.raises(ValueError, match="count must exceed dim=3"):
        generic_cloud(next(keys), 3, 3)
    with pytest.raises(ValueError, match="gap must be positive and below"):
        generic_cloud(next(keys), 9, 3, gap=0.6)
    law = {"group": sf.euclidean(3), "in_actions": sf.points, "key": next(keys)}
    assert_equivariant(IDENTITY, CLOUD, out_actions=sf.points, **law)
    with pytest.raises(AssertionError, match=r"relative equivariance error .* under E\(3\)"):
        assert_equivariant(IDENTITY, CLOUD, out_actions=None, **law)
    with pytest.raises(ValueError, match="group must be a Group .*got 'E'"):
        assert_equivariant(IDENTITY, CLOUD, out_actions=None, **law | {"group": "E"})
    with pytest.raises(AssertionError, match="error nan"):
        assert_equivariant(lambda x: x * jnp.nan, CLOUD, out_actions=None, **law)
