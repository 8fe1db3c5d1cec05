"""Correlations and group convolutions of volumes obey their laws for every symmetry of the cube."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import symjax_frames as sf
from symjax_frames import nn
from symjax_frames.correlation import (
    average_kernel,
    convolve,
    correlate,
    group_correlate,
    kernels_3d,
    lift,
)
from tests.helpers.networks import relative

SIZE = 4
ROTATIONS, OH = sf.octahedral(), sf.octahedral(inversion=True)
ELEMENTS = OH.cast(jnp.float64)
NEAREST = sf.fields(dim=3, order=0)
BROKEN = 1e-3


def draw(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


def rounding(terms):
    return 4 * terms * np.finfo(np.float64).eps


def maps(group):
    """How lifted volumes move."""
    return sf.fields(sf.regular(group), dim=3, channel_axes=2, order=0)


def every(action, x, elements=ELEMENTS):
    return jax.vmap(lambda g: action.push(g, x))(elements)


VOLUME = draw(SIZE, SIZE, SIZE, 1)
POSES = jax.jit(functools.partial(every, NEAREST))(VOLUME)


def test_turning_volume_and_kernel_turns_the_output():
    kernel = draw(3, 3, 3, 1, 2, seed=1)

    @jax.jit
    def sides(kernel):
        turned = every(kernels_3d, kernel)
        found = {}
        for name, operation in (("correlate", correlate), ("convolve", convolve)):
            output = every(NEAREST, operation(VOLUME, kernel))
            found[name] = jax.vmap(operation)(POSES, turned), output
            found[f"{name} with a kernel left alone"] = operation(POSES, kernel), output
        return found

    for name, (moved_first, moved_last) in sides(kernel).items():
        error = relative(moved_first, moved_last)
        assert error > BROKEN if "alone" in name else error < rounding(27), name


def test_correlation_is_the_sum_that_it_says():
    """An impulse gives the kernel, reflected in its centre; the convolution gives it as it is."""
    impulse = jnp.zeros((3, 3, 3, 1)).at[1, 1, 1].set(1)
    kernel = draw(3, 3, 3, 1, 2)
    np.testing.assert_array_equal(jax.jit(convolve)(impulse, kernel), kernel[..., 0, :])
    np.testing.assert_array_equal(jax.jit(correlate)(impulse, kernel), kernel[::-1, ::-1, ::-1, 0])


def test_lifting_moves_maps_and_shifts_the_group_axis():
    kernel = draw(3, 3, 3, 1, 1, seed=1)

    @jax.jit
    def sides(kernel):
        lifted = lift(VOLUME, kernel, OH)
        average = sf.group_average(
            correlate, OH, in_actions=(NEAREST, None), out_actions=NEAREST, batch_size=16
        )
        return {
            "lifting": (lift(POSES, kernel, OH), every(maps(OH), lifted)),
            "axis left alone": (
                lift(POSES, kernel, OH),
                every(sf.fields(dim=3, channel_axes=2, order=0), lifted),
            ),
            "average": (average(VOLUME, kernel), jnp.mean(lifted, axis=-2)),
            "kernel": (correlate(VOLUME, average_kernel(kernel, OH)), jnp.mean(lifted, axis=-2)),
            "one map": (lifted[..., 0, :], jnp.mean(lifted, axis=-2)),
        }

    pairs = sides(kernel)
    for law in ("lifting", "average", "kernel"):
        assert relative(*pairs[law]) < rounding(48), law
    for control in ("axis left alone", "one map"):
        assert relative(*pairs[control]) > BROKEN, control


def test_correlation_on_the_group_is_equivariant():
    rotations = jax.tree.map(lambda leaf: leaf[:24], ELEMENTS)
    features, kernel = draw(SIZE, SIZE, SIZE, 24, 1), draw(24, 3, 3, 3, 1, 1, seed=1)

    @jax.jit
    def sides(features, kernel):
        moved = group_correlate(every(maps(ROTATIONS), features, rotations), kernel, ROTATIONS)
        output = group_correlate(features, kernel, ROTATIONS)
        still = sf.fields(dim=3, channel_axes=2, order=0)
        return moved, every(maps(ROTATIONS), output, rotations), every(still, output, rotations)

    moved_first, moved_last, axis_left_alone = sides(features, kernel)
    assert relative(moved_first, moved_last) < rounding(24 * 27)
    assert relative(moved_first, axis_left_alone) > BROKEN


def drawn(build):
    """The network that a function builds, with parameters drawn by NumPy."""
    leaves, tree = jax.tree.flatten(nnx.eval_shape(build))
    rng = np.random.default_rng(0)
    return tree.unflatten([rng.normal(size=leaf.shape).astype(leaf.dtype) for leaf in leaves])


def network(group, widths):
    first, second = widths
    sizes = {"lifting_kernel_size": 3, "param_dtype": "float64"}
    return drawn(lambda: nn.GroupCNN(group, 1, [[first], [second]], rngs=nnx.Rngs(0), **sizes))


def test_a_network_of_rotations_is_equivariant_to_them_and_averaged_to_all():
    group_network = network(ROTATIONS, (1, 2))
    identity = sf.groups.finite_group("E", np.eye(3)[None])
    plain = network(identity, (4, 6))
    pool = nn.GroupPool(ROTATIONS)

    @jax.jit
    def outputs(poses):
        lifted = group_network(poses)
        moved = every(
            sf.regular(ROTATIONS), lifted[0], jax.tree.map(lambda leaf: leaf[:24], ELEMENTS)
        )
        average = sf.group_average(
            lambda volume: pool(group_network(volume[None]))[0],
            OH,
            in_actions=NEAREST,
            out_actions=None,
            already=ROTATIONS,
        )
        chosen = jnp.asarray([0, 7, 30])
        return lifted, moved, pool(lifted), plain(poses), jax.vmap(average)(poses[chosen])

    lifted, moved, pooled, ordinary, averaged = (np.asarray(y) for y in outputs(POSES))
    # Two layers sum up to 27 * 24 products each, and the norm divides by a deviation.
    bound = rounding(27 * 24 * 3)
    assert relative(lifted[:24], moved) < bound
    assert relative(lifted[24:], moved) > BROKEN  # reflections are not in the group
    assert relative(pooled[:24], pooled[[0]]) < bound < BROKEN < relative(pooled[24:], pooled[[0]])
    assert relative(ordinary[1:24], ordinary[[0]]) > BROKEN
    # One evaluation for each of the two cosets makes the reflections exact too.
    assert relative(averaged, averaged[[0]]) < bound


def test_the_trivial_group_gives_a_plain_convolution():
    identity = sf.groups.finite_group("E", np.eye(3)[None])
    layer = drawn(lambda: nn.LiftingConv(identity, 2, 3, param_dtype="float64", rngs=nnx.Rngs(0)))
    x = draw(1, SIZE, SIZE, SIZE, 2)
    kernel = jnp.asarray(layer.kernel[...]).reshape(3, 3, 3, 2, 3)
    expected = jax.jit(correlate)(x, kernel) + layer.bias[...].reshape(1, 1, 1, 1, 3)
    assert relative(jax.jit(lambda x: layer(x))(x)[..., 0, :], expected) < rounding(54)


def test_pools_leave_no_voxel_out(unhooked):
    x = draw(1, 4, 4, 4, 2)
    pooled = nn.SpacePool(2, "max", dim=3)(x)
    assert pooled.shape == (1, 2, 2, 2, 2)
    np.testing.assert_array_equal(pooled[0, 1, 0, 1], np.max(x[0, 2:, :2, 2:], axis=(0, 1, 2)))
    with pytest.raises(ValueError, match="depth, height and width, got 4, 4 and 3"):
        nn.SpacePool(2, dim=3)(x[:, :, :, :3])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nn.SpacePool(dim=4), "dim must be 2 .images. or 3 .volumes., got 4"),
        (
            lambda: lift(VOLUME, draw(3, 3, 2, 1, 1), ROTATIONS),
            r"must have the shape \(size, size, size, in_features, out_features\)",
        ),
        (lambda: lift(VOLUME, draw(3, 3, 1, 1), ROTATIONS), r"\(size, size, size, in_features"),
        (
            lambda: lift(VOLUME, draw(3, 3, 3, 2, 1), ROTATIONS),
            r"\(slices, rows, columns, 1, out_feat",
        ),
        (
            lambda: correlate(VOLUME[0], draw(3, 3, 3, 1, 1)),
            r"\(..., depth, height, width, feat",
        ),
        (lambda: average_kernel(draw(3, 3, 1, 1), sf.signs(4)), "of 4 dimensions"),
        (
            lambda: nn.LiftingConv(ROTATIONS, 1, 1, rngs=nnx.Rngs(0))(jnp.ones((1, 4, 4, 1))),
            r"\(batch, depth, height, width, in_features\) ending in \(1,\)",
        ),
    ],
)
def test_mistakes_are_named(unhooked, call, message):
    with pytest.raises(ValueError, match=message):
        call()
