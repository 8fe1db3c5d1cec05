"""The identities of correlation under symmetries of the grid, each beside what breaks it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal

import symjax_frames as sf
from symjax_frames.correlation import (
    average_kernel,
    convolve,
    correlate,
    group_correlate,
    kernels,
    lift,
    pixel_basis,
)

SWEEP = [(sf.cyclic(4), "float32", 1, 1), (sf.dihedral(4), "float64", 3, 2)]
BROKEN = 1e-2
"""A law that does not hold is off by about one; rounding never comes near."""


def relative(value, reference):
    """The largest difference, relative to the largest value."""
    return jnp.max(jnp.abs(value - reference)) / jnp.max(jnp.abs(reference))


def rounding(dtype, terms):
    """Sums of `terms` products in another order differ by a fraction of `terms` epsilons."""
    return terms * float(jnp.finfo(dtype).eps)


def draw(keys, dtype, *shapes):
    # One size for all: a size of its own would be compiled for every array.
    values = (np.asarray(jax.random.normal(next(keys), 4096, dtype)) for _ in shapes)
    pairs = zip(values, shapes, strict=True)
    return [jnp.asarray(np.resize(value, shape)) for value, shape in pairs]


@functools.partial(jax.jit, static_argnames=("action", "group", "pull"))
def every(action, group, x, *, pull=False):
    """`g.x` for all elements, stacked on a first axis."""
    move = action.pull if pull else action.push
    return jax.vmap(move, in_axes=(0, None))(group.cast(x.dtype), x)


def maps_of(group):
    return sf.fields(sf.regular(group), channel_axes=2)


@pytest.mark.fast
@pytest.mark.parametrize(
    "operation,group,dtype,inputs,outputs", [(correlate, *SWEEP[1]), (convolve, *SWEEP[0])]
)
def test_a_symmetry_moves_through_once_the_kernel_turns(
    keys, operation, group, dtype, inputs, outputs
):
    image, odd, even = draw(
        keys, dtype, (2, 7, 7, inputs), (3, 3, inputs, outputs), (4, 4, inputs, outputs)
    )

    @jax.jit
    def errors(image, odd, even):
        def law(kernel, padding):
            reference = every(sf.images, group, operation(image, kernel, padding=padding))
            moved = every(sf.images, group, image)
            turned = jax.vmap(lambda f, k: operation(f, k, padding=padding))(
                moved, every(kernels, group, kernel)
            )
            kept = operation(moved, kernel, padding=padding)
            return relative(turned, reference), relative(kept, reference)

        return {
            name: law(kernel, padding)
            for name, kernel, padding in [
                ("odd SAME", odd, "SAME"),
                ("even VALID", even, "VALID"),
                ("even SAME", even, "SAME"),
            ]
        }

    found = errors(image, odd, even)
    # An even kernel has no centre pixel: with SAME the output lies half a pixel off.
    assert found.pop("even SAME")[0] > BROKEN
    for name, (turned, kept) in found.items():
        assert turned < rounding(dtype, 16 * inputs), name
        assert kept > BROKEN, name


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
def test_correlation_and_convolution_are_those_of_scipy(keys, padding):
    image, kernel = draw(keys, "float64", (2, 6, 9, 3), (3, 5, 3, 2))
    for ours, theirs in (
        (correlate, scipy.signal.correlate2d),
        (convolve, scipy.signal.convolve2d),
    ):
        expected = [
            [
                sum(theirs(one[..., i], kernel[..., i, o], mode=padding.lower()) for i in range(3))
                for o in range(2)
            ]
            for one in np.asarray(image)
        ]
        found = jax.jit(ours, static_argnames="padding")(image, kernel, padding=padding)
        np.testing.assert_allclose(found, np.moveaxis(expected, 1, -1), atol=1e-13)
    assert relative(correlate(image, kernel), convolve(image, kernel)) > BROKEN


def test_no_images_have_no_maps():
    none, kernel = jnp.ones((0, 5, 5, 4, 2)), jnp.ones((4, 3, 3, 2, 1))
    shape = jax.eval_shape(lambda x, k: group_correlate(x, k, sf.cyclic(4)), none, kernel).shape
    assert shape == (0, 5, 5, 4, 1)


def test_leading_axes_are_free(keys):
    image, kernel = draw(keys, "float32", (2, 3, 5, 5, 2), (3, 3, 2, 4))
    run = jax.jit(correlate)
    whole = run(image, kernel)
    assert whole.shape == (2, 3, 5, 5, 4)
    assert relative(run(image[1, 2], kernel), whole[1, 2]) < rounding("float32", 18)


@pytest.mark.parametrize("group", [sf.cyclic(4), sf.dihedral(4)])
@pytest.mark.parametrize("size", [2, 3])
def test_kernels_turn_by_a_permutation_of_their_pixels(group, size):
    basis = pixel_basis(group, size)
    moved = every(kernels, group, jnp.asarray(basis[0])[..., None])
    np.testing.assert_array_equal(moved[..., 0], basis)
    quarter = np.rot90(basis[0], 1)
    np.testing.assert_array_equal(moved[1, ..., 0], quarter)


@pytest.mark.parametrize("group,dtype,inputs,outputs", SWEEP)
def test_lifting_is_what_it_is_defined_as_and_equivariant(keys, group, dtype, inputs, outputs):
    image, kernel = draw(keys, dtype, (6, 6, inputs), (3, 3, inputs, outputs))

    @jax.jit
    def errors(image, kernel):
        lifted = lift(image, kernel, group)
        turned = every(kernels, group, kernel)
        by_kernel = jax.vmap(correlate, in_axes=(None, 0), out_axes=2)(image, turned)
        responses = correlate(every(sf.images, group, image, pull=True), kernel)
        by_image = jax.vmap(sf.images.push, out_axes=2)(group.cast(dtype), responses)
        uncorrected = jnp.moveaxis(responses, 0, 2)
        moved = lift(every(sf.images, group, image), kernel, group)
        return {
            "holds": [
                relative(lifted, by_kernel),
                relative(lifted, by_image),
                relative(moved, every(maps_of(group), group, lifted)),
            ],
            "breaks": [
                relative(lifted, uncorrected),
                relative(moved, every(sf.fields(channel_axes=2), group, lifted)),
            ],
        }

    found = errors(image, kernel)
    assert max(found["holds"]) < rounding(dtype, 9 * inputs)
    assert min(found["breaks"]) > BROKEN


@pytest.mark.parametrize("group,dtype,inputs,outputs", SWEEP)
def test_correlation_on_the_group_is_equivariant(keys, group, dtype, inputs, outputs):
    order = group.order
    features, kernel, plain = draw(
        keys,
        dtype,
        (5, 5, order, inputs),
        (order, 3, 3, inputs, outputs),
        (3, 3, order * inputs, order * outputs),
    )

    def generic(features):
        maps = features.reshape(*features.shape[:-2], order * inputs)
        mixed = correlate(maps, plain)
        return mixed.reshape(*mixed.shape[:-1], order, outputs)

    @jax.jit
    def errors(features, kernel):
        moved = every(maps_of(group), group, features)
        result = group_correlate(features, kernel, group)
        return (
            relative(group_correlate(moved, kernel, group), every(maps_of(group), group, result)),
            relative(generic(moved), every(maps_of(group), group, generic(features))),
        )

    equivariant, broken = errors(features, kernel)
    assert equivariant < rounding(dtype, 9 * order * inputs)
    assert broken > BROKEN


def test_correlation_on_the_group_is_the_double_sum(keys):
    group, side, size = sf.dihedral(4), 4, 3
    order = group.order
    features, kernel = draw(keys, "float64", (side, side, order, 1), (order, size, size, 1, 2))
    matrices = group.elements.linear

    def points(count):
        """The pixels of a square by their points, y upwards."""
        half = (count - 1) / 2
        return {(j - half, half - i): (i, j) for i in range(count) for j in range(count)}

    image, window = points(side), points(size)
    expected = np.zeros((side, side, order, 2))
    for x, at in image.items():
        for g in range(order):
            for y, pixel in image.items():
                source = tuple(matrices[g].T @ np.subtract(y, x))
                for h in range(order):
                    quotient = matrices[g].T @ matrices[h]
                    element = int(np.argmin(np.abs(matrices - quotient).max((1, 2))))
                    if source in window:
                        weight = np.asarray(kernel)[element, *window[source], 0]
                        expected[*at, g] += np.asarray(features)[*pixel, h, 0] * weight
    found = jax.jit(group_correlate, static_argnums=2)(features, kernel, group)
    np.testing.assert_allclose(found, expected, atol=1e-13)


@pytest.mark.parametrize("group,dtype,inputs,outputs", SWEEP)
def test_three_averages_are_one_and_need_the_correction_term(keys, group, dtype, inputs, outputs):
    image, kernel = draw(keys, dtype, (6, 6, inputs), (3, 3, inputs, outputs))

    @jax.jit
    def errors(image, kernel):
        def average(out_actions):
            return sf.group_average(
                correlate, group, in_actions=(sf.images, None), out_actions=out_actions
            )

        corrected, uncorrected = average(sf.images), average(None)
        symmetric = average_kernel(kernel, group)
        reference = corrected(image, kernel)
        moved = every(sf.images, group, image)
        without = uncorrected(image, kernel)
        without_moved = jax.vmap(uncorrected, in_axes=(0, None))(moved, kernel)
        copies = jnp.broadcast_to(without[None], without_moved.shape)
        return {
            "holds": {
                "mean of lifted maps": relative(
                    jnp.mean(lift(image, kernel, group), axis=-2), reference
                ),
                "averaged kernel": relative(correlate(image, symmetric), reference),
                "a symmetric kernel": relative(
                    every(kernels, group, symmetric),
                    jnp.broadcast_to(symmetric[None], (group.order, *symmetric.shape)),
                ),
                "equivariant": relative(
                    jax.vmap(corrected, in_axes=(0, None))(moved, kernel),
                    every(sf.images, group, reference),
                ),
                "invariant without the correction": relative(without_moved, copies),
            },
            "breaks": {
                "plain correlation": relative(correlate(image, kernel), reference),
                "same without the correction": relative(without, reference),
                "equivariant without it": relative(without_moved, every(sf.images, group, without)),
            },
        }

    found = errors(image, kernel)
    for name, error in found["holds"].items():
        # Both the terms of the correlations and those of the averages are added in another order.
        assert error < rounding(dtype, 9 * inputs + group.order), name
    for name, error in found["breaks"].items():
        assert error > BROKEN, name


def test_averaging_leaves_an_equivariant_network_as_it_is(keys):
    group = sf.dihedral(4)
    image, first, second, plain = draw(
        keys, "float64", (6, 6, 1), (3, 3, 1, 3), (group.order, 3, 3, 3, 2), (3, 3, 3, 2)
    )

    def equivariant(image):
        hidden = jax.nn.relu(lift(image, first, group) - 0.3)
        return jnp.mean(group_correlate(hidden, second, group), axis=-2)

    def ordinary(image):
        return correlate(jax.nn.relu(correlate(image, first) - 0.3), plain)

    @jax.jit
    def changes(image):
        return [
            relative(
                sf.group_average(network, group, in_actions=sf.images, out_actions=sf.images)(
                    image
                ),
                network(image),
            )
            for network in (equivariant, ordinary)
        ]

    unchanged, changed = changes(image)
    assert unchanged < rounding("float64", 9 + 27 * group.order)
    assert changed > BROKEN


def test_mistakes_are_named(unhooked):
    image, kernel = jnp.ones((5, 5, 2)), jnp.ones((3, 3, 2, 1))
    group, on_group = sf.cyclic(4), jnp.ones((4, 3, 3, 2, 1))
    cases = [
        (lambda: correlate(image[0], kernel), r"image must .* got shape \(5, 2\)"),
        (lambda: convolve(image, kernel[..., 0]), r"kernel must .* got shape \(3, 3, 2\)"),
        (lambda: correlate(image, kernel[:, :, :1]), "for images of 2 features"),
        (lambda: correlate(image, kernel.astype("float32")), "float64, got float32"),
        (lambda: correlate(image, kernel, padding="FULL"), "got 'FULL'"),
        (lambda: correlate(image[:2], kernel, padding="VALID"), "fit into the image"),
        (lambda: correlate(image.astype(int), kernel), "floating array"),
        (lambda: lift(image, kernel[:2], group), r"kernel must have the shape \(size, size"),
        (lambda: lift(image, kernel, sf.special_orthogonal(2)), "infinite"),
        (lambda: lift(image, kernel, "C4"), "group must be a Group"),
        (lambda: average_kernel(kernel[:2], group), r"kernel must have the shape \(size, size"),
        (lambda: group_correlate(image, on_group, group), "4 elements of C4"),
        (lambda: group_correlate(image[..., None], on_group, group), "4 elements of C4"),
        (lambda: group_correlate(image, kernel, group), r"kernel must have the shape \(order"),
    ]
    for call, message in cases:
        with pytest.raises(ValueError, match=message):
            call()
