import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.ndimage import map_coordinates

import symjax_frames as sf
from symjax_frames.actions import fields

ORDERS = [0, 1, 3]
D4 = sf.dihedral(4)


def draw(shape, dtype=np.float32, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def turn(angle, shift=(0.0, 0.0), dtype=jnp.float64):
    """Rotation by an angle in radians, then a shift in pixels."""
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    linear = jnp.stack([jnp.stack([cos, -sin]), jnp.stack([sin, cos])])
    return sf.Isometry(linear.astype(dtype), jnp.asarray(shift, dtype))


def pick(elements, index):
    return jax.tree.map(lambda leaf: leaf[index], elements)


def symmetries(image, axes):
    """The image moved by each element of D4, by NumPy's permutations of the grid."""
    turns = [np.rot90(image, k, axes) for k in range(4)]
    flips = [np.rot90(np.flip(image, axes[0]), k, axes) for k in range(4)]
    return np.stack(turns + flips)


def blob(size, dtype=np.float64):
    """A smooth image without symmetry that vanishes at the edge of the disc."""
    axis = (np.arange(size) - (size - 1) / 2) / (size / 2)
    y, x = -axis[:, None], axis[None, :]
    inside = np.clip(1 - x**2 - y**2, 0, None) ** 3
    return (inside * (1 + np.sin(3 * x + 1) + x * y + np.cos(4 * y)))[..., None].astype(dtype)


@pytest.mark.parametrize("size", [5, 6])
@pytest.mark.parametrize("order", ORDERS)
def test_the_symmetries_of_the_grid_are_permutations_to_the_bit(order, size):
    action = fields(order=order)
    elements = D4.cast(jnp.float32)
    image = draw((2, 3, size, size, 2))

    @jax.jit
    def moved(image):
        return [jax.vmap(lambda g, move=move: move(g, image))(elements) for move in (
            action.push, action.pull)]  # fmt: skip

    push, pull = moved(image)
    expected = symmetries(image, axes=(2, 3))
    np.testing.assert_array_equal(push, expected)
    np.testing.assert_array_equal(pull, expected[[0, 3, 2, 1, 4, 5, 6, 7]])
    # Turning the wrong way agrees on the half turn and the reflections only.
    assert [bool(np.all(a == b)) for a, b in zip(pull, expected, strict=True)] == (
        [True, False, True, False] + [True] * 4
    )


def test_every_dtype_is_moved_and_kept():
    elements, dtypes = (
        D4.cast(jnp.float32),
        ["bfloat16", "float16", "float64", "int32", "uint8", "bool"],
    )
    images = {dtype: jnp.asarray(10 * draw((5, 5, 1))).astype(dtype) for dtype in dtypes}
    moved = jax.jit(
        lambda images: jax.tree.map(
            lambda image: jax.vmap(lambda g: fields(order=0).push(g, image))(elements), images
        )
    )(images)
    for dtype, image in images.items():
        assert moved[dtype].dtype == dtype
        np.testing.assert_array_equal(moved[dtype], symmetries(np.asarray(image), axes=(0, 1)))


# Every order is exact on the grid, and the nearest pixel compiles fastest.
NEAREST = fields(order=0)
KINDS = {
    "images": (sf.images, (2,)),
    "labels": (fields(channel_axes=0, order=0), ()),
    "vectors": (fields(sf.vectors, order=0), (2,)),
    "tensors": (fields(sf.tensors(2), channel_axes=2, order=0), (2, 2)),
    "regular": (fields(sf.regular(D4), channel_axes=2, order=0), (8, 3)),
}


def pairs_of(action, image):
    """Both sides of the laws of an action, for all pairs of elements of D4 with shifts."""
    linear = D4.cast(jnp.float64).linear
    shifts = jnp.asarray([[0, 0], [1, 0], [0, -1], [1, 1], [-1, 0], [0, 1], [-1, 1], [0, 0]], float)
    g = sf.Isometry(jnp.repeat(linear, 8, 0), jnp.repeat(shifts, 8, 0))
    h = sf.Isometry(jnp.tile(linear, (8, 1, 1)), jnp.tile(shifts[::-1], (8, 1)))

    def laws(g, h):
        return {
            "composition": (
                action.push(g, action.push(h, image)),
                action.push(g.compose(h), image),
            ),
            "pull undoes push": (action.pull(g, action.push(g, image)), image),
            "pull is the push of the inverse": (
                action.pull(g, image),
                action.push(g.inverse(), image),
            ),
        }

    pairs = jax.vmap(laws)(g, h)
    identity = action.push(sf.Isometry.identity(2, jnp.float64), image)
    return {"identity": (identity, image), **pairs}


@pytest.mark.fast
@pytest.mark.parametrize("kind", KINDS)
def test_action_is_a_homomorphism_with_inverse(kind):
    action, channels = KINDS[kind]
    # Two pixels of border: two shifts of one pixel each keep the image inside.
    border = [(0, 0), (2, 2), (2, 2)] + [(0, 0)] * len(channels)
    image = np.pad(draw((2, 4, 4, *channels), np.float64), border)
    for law, (left, right) in jax.jit(lambda x: pairs_of(action, x))(image).items():
        np.testing.assert_array_equal(left, np.broadcast_to(right, left.shape), err_msg=law)


@pytest.mark.fast
def test_a_transposed_pull_is_no_action():
    wrong = sf.Action(NEAREST.pull, NEAREST.push)
    left, right = jax.jit(lambda x: pairs_of(wrong, x))(draw((5, 5, 1), np.float64))["composition"]
    assert np.mean(np.any(np.asarray(left) != np.asarray(right), axis=(1, 2, 3))) > 0.5


def test_the_gradient_of_an_image_is_a_field_of_vectors():
    image = np.pad(draw((4, 4), np.float64), 1)

    def gradient(image):
        x = jnp.roll(image, -1, axis=1) - jnp.roll(image, 1, axis=1)
        y = jnp.roll(image, 1, axis=0) - jnp.roll(image, -1, axis=0)
        return jnp.stack([x, y], axis=-1)

    @jax.jit
    @jax.vmap
    def sides(g):
        moved_first = gradient(fields(channel_axes=0).push(g, image))
        return moved_first, fields(sf.vectors).push(g, gradient(image)), sf.images.push(
            g, gradient(image)
        )  # fmt: skip

    moved_first, moved_last, channels_left_alone = sides(D4.cast(jnp.float64))
    np.testing.assert_array_equal(moved_first, moved_last)
    assert not np.allclose(moved_first, channels_left_alone)


def test_lifted_images_are_fields_of_the_regular_representation():
    """`(L f)(h) = h phi(h^-1 f)` moves as `(g.f)(p, h) = f(g^-1 p, g^-1 h)`, for any `phi`."""
    image, elements = draw((5, 5, 2), np.float64), D4.cast(jnp.float64)
    weights = draw((5, 5, 2), np.float64, seed=1)
    action = fields(sf.regular(D4), channel_axes=2, order=0)

    def lift(image):
        phi = lambda x: jnp.sin(x * weights + jnp.roll(x, 1, axis=0))
        maps = jax.vmap(lambda h: NEAREST.push(h, phi(NEAREST.pull(h, image))))(elements)
        return jnp.moveaxis(maps, 0, 2)

    @jax.jit
    @jax.vmap
    def sides(g):
        maps = lift(image)
        still = fields(channel_axes=2, order=0).push(g, maps)
        return lift(NEAREST.push(g, image)), action.push(g, maps), still

    moved_first, moved_last, axis_left_alone = sides(elements)
    # Equal numbers, from sines that may be compiled differently.
    np.testing.assert_allclose(moved_first, moved_last, atol=1e-14)
    assert not np.allclose(moved_first, axis_left_alone)


@pytest.mark.parametrize("order", [0, 1])
def test_samples_are_those_of_map_coordinates(order):
    size, angle, shift = 7, 0.7, np.array([0.3, -1.6])
    image = draw((2, size, size, 1), np.float64)
    axis = np.arange(size) - (size - 1) / 2
    points = np.stack(np.broadcast_arrays(axis[None, :], -axis[:, None]), -1) - shift
    sources = points @ np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    rows, columns = (size - 1) / 2 - sources[..., 1], sources[..., 0] + (size - 1) / 2
    expected = [map_coordinates(one[..., 0], [rows, columns], order) for one in image]
    moved = jax.jit(fields(order=order).push)(turn(angle, shift), image)
    np.testing.assert_allclose(moved[..., 0], np.stack(expected), atol=1e-14)


def test_cubic_convolution_is_exact_on_quadratic_images():
    size = 15
    axis = np.arange(size) - (size - 1) / 2
    quadratic = lambda x, y: 1 + 2 * x - y + 0.5 * x * x + x * y - 2 * y * y
    x, y = axis[None, :], -axis[:, None]
    g = turn(0.4, (0.3, 0.2))
    linear, shift = np.asarray(g.linear), np.asarray(g.shift)
    sources = np.stack(np.broadcast_arrays(x, y), -1) @ linear.T + shift
    expected = quadratic(sources[..., 0], sources[..., 1])
    # Their neighbours are up to two pixels away: all inside.
    inside = np.max(np.abs(sources), axis=-1) < 5
    assert inside.sum() > 50
    errors = {}
    for order in ORDERS:
        moved = jax.jit(fields(channel_axes=0, order=order).pull)(g, quadratic(x, y))
        errors[order] = np.max(np.abs(moved - expected)[inside])
    # Sums of 16 terms of size 100.
    assert errors[3] < 1e-12
    assert errors[1] > 0.05


def test_a_rotation_there_and_back_gains_with_the_order():
    image = blob(28)
    angles = jnp.linspace(0.2, 1.4, 4)
    errors = []
    for order in ORDERS:
        action = fields(order=order, disc=True)
        back = jax.jit(
            jax.vmap(lambda a, move=action: move.pull(turn(a), move.push(turn(a), image)))
        )
        errors.append(float(jnp.max(jnp.abs(back(angles) - image[None])) / np.max(image)))
    nearest, linear, cubic = errors
    assert nearest < 0.2 and linear < 0.03 and cubic < 0.001
    assert nearest > 4 * linear > 16 * cubic


def test_the_disc_is_kept_by_rotations_and_the_square_is_not():
    size = 9
    axis = np.arange(size) - (size - 1) / 2
    outside = axis[:, None] ** 2 + axis[None, :] ** 2 > (size / 2) ** 2
    image = draw((size, size, 1), np.float64)
    disc_image = np.where(outside[..., None], 0, image)
    disc, square = jax.jit(fields(disc=True).push), jax.jit(sf.images.push)
    g = turn(0.7)
    moved = np.asarray(disc(g, image))
    assert np.all(moved[outside] == 0) and np.all(moved[~outside] != 0)
    np.testing.assert_array_equal(moved, disc(g, disc_image))
    np.testing.assert_array_equal(disc(turn(0.0), disc_image), disc_image)
    assert np.any(np.asarray(square(g, image))[outside] != 0)
    assert not np.allclose(square(g, image)[~outside], moved[~outside])


def test_rectangles_are_kept_by_signs_and_shifts():
    image = draw((4, 6, 1))
    action, elements = fields(rectangular=True), sf.signs(2).cast(jnp.float32)
    push = jax.jit(action.push)
    moved = [push(pick(elements, index), image) for index in range(4)]
    # Of x and y; the second axis of an image is x.
    flips = np.diagonal(elements.linear, axis1=1, axis2=2).astype(int)
    expected = [image[::y, ::x] for x, y in flips]
    assert len({(x, y) for x, y in flips.tolist()}) == 4
    np.testing.assert_array_equal(np.stack(moved), np.stack(expected))
    right_and_down = sf.Isometry(jnp.eye(2, dtype=jnp.float32), jnp.array([2.0, -1.0], jnp.float32))
    shifted = np.pad(image, ((1, 0), (2, 0), (0, 0)))[:4, :6]
    np.testing.assert_array_equal(push(right_and_down, image), shifted)


@pytest.mark.parametrize("order", ORDERS)
def test_gradients_are_finite_differences(order):
    weights = draw((5, 5, 1), np.float64, seed=1)

    @jax.jit
    @jax.value_and_grad
    def slope(inputs):
        angle, shift, image = inputs
        return jnp.sum(weights * jnp.sin(fields(order=order).push(turn(angle, shift), image)))

    inputs = [jnp.asarray(0.5), jnp.asarray([0.3, -0.2]), draw((5, 5, 1), np.float64)]
    along = [jnp.asarray(0.7), jnp.asarray([-0.4, 0.9]), draw((5, 5, 1), np.float64, seed=2)]
    step = 1e-6
    ahead, behind = (
        slope([x + sign * step * d for x, d in zip(inputs, along, strict=True)])[0]
        for sign in (1, -1)
    )
    _, gradients = slope(inputs)
    derivative = sum(jnp.vdot(g, d) for g, d in zip(gradients, along, strict=True))
    # The error of central differences: step^2 times a third derivative, and rounding over step.
    np.testing.assert_allclose(derivative, (ahead - behind) / (2 * step), atol=1e-8)
    _, on_the_grid = slope([jnp.asarray(0.0), jnp.zeros(2), inputs[2]])
    assert all(bool(jnp.all(jnp.isfinite(leaf))) for leaf in on_the_grid)
    # The nearest pixel does not see small turns; interpolations do.
    assert (order == 0) == bool(on_the_grid[0] == 0)


def test_far_shifts_leave_nothing_and_no_nan():
    far = sf.Isometry(jnp.eye(2, dtype=jnp.float32), jnp.array([1e30, -3e9], jnp.float32))
    value = lambda shift: jnp.sum(fields(order=3).push(far._replace(shift=shift), draw((4, 4, 1))))
    total, gradient = jax.jit(jax.value_and_grad(value))(far.shift)
    assert total == 0
    np.testing.assert_array_equal(gradient, 0)


def test_averages_of_a_network_on_images():
    """Class scores invariant, masks equivariant, for images with labels that are pulled along."""
    image, labels = draw((6, 6, 2), np.float64), (draw((6, 6), seed=2) > 0).astype(np.int32)
    weights = draw((6, 6, 2), np.float64, seed=1)

    def segment(image, labels):
        return jnp.sin(image * weights + jnp.roll(image, 1, axis=0)) * labels[..., None].astype(
            image.dtype
        )

    classify = lambda image, labels: jnp.sum(segment(image, labels), axis=(0, 1))
    masks = fields(channel_axes=0, order=0)
    options = {"in_actions": (NEAREST, masks)}
    invariant = sf.group_average(classify, D4, **options, out_actions=None)
    equivariant = sf.group_average(segment, D4, **options, out_actions=NEAREST)

    @jax.jit
    @jax.vmap
    def sides(g):
        moved = NEAREST.push(g, image), masks.push(g, labels)
        return {
            "invariant": (invariant(*moved), invariant(image, labels)),
            "equivariant": (equivariant(*moved), NEAREST.push(g, equivariant(image, labels))),
            "labels left behind": (invariant(moved[0], labels), invariant(image, labels)),
            "bare": (classify(*moved), classify(image, labels)),
        }

    pairs = sides(D4.cast(jnp.float64))
    # Sums of eight terms of order one, in another order.
    for law in ("invariant", "equivariant"):
        np.testing.assert_allclose(*pairs[law], atol=1e-14, err_msg=law)
    for control in ("labels left behind", "bare"):
        assert not np.allclose(*pairs[control]), control


@pytest.mark.parametrize(
    "call,message",
    [
        (lambda: fields("rgb"), "channels must be an Action or None .*, got 'rgb'"),
        (lambda: fields(channel_axes=-1), "channel_axes must be a non-negative integer, got -1"),
        (lambda: fields(order=2), "order must be 0 .nearest., 1 .linear. or 3 .cubic., got 2"),
        (lambda: push(np.ones((4, 5, 1))), "must be square.*height 4 and width 5.*Pad"),
        (lambda: push(np.ones((4, 4))), r"height, width and 1 channel axis.*\(4, 4\)"),
        (lambda: push(np.ones((4, 4, 1), np.int32)), "dtype int32 .* order=1; use fields.order=0."),
        (lambda: push(np.ones((4, 4, 1), bool)), "dtype bool .* order=1"),
        (lambda: push(np.ones((4, 4, 1)), dim=3), "elements of the plane.*got .* 3 dimensions"),
        (
            lambda: sf.images.push(D4.cast(jnp.float64), np.ones((4, 4, 1))),
            r"one element at a time, got elements of shape \(8, 2, 2\)",
        ),
        (lambda: push(np.ones((4, 4, 3)), fields(sf.vectors)), r"vectors in 2 .*\(4, 4, 3\)"),
        (
            lambda: push(np.ones((4, 4, 4, 1)), fields(sf.regular(D4), channel_axes=2)),
            r"regular.D4. end in axes \(8, features\).*\(4, 4, 4, 1\)",
        ),
        (lambda: push(np.ones((4, 8, 1)), sf.regular(D4), dim=3), "regular.D4. .*2 dimensions"),
        (lambda: sf.regular(sf.orthogonal(2)), r"group must be finite .*, got O\(2\)"),
        (
            lambda: sf.group_average(lambda x, y: y, D4, in_actions=sf.images, out_actions=None)(
                np.ones((4, 4, 1), int), np.ones((4, 4, 1))
            ),
            r"argument\[0\] has an action but is no floating array, got int64 array: .*order=0",
        ),
        (
            lambda: sf.group_average(
                lambda x: x > 0, D4, in_actions=None, out_actions=fields(order=0)
            )(np.ones((4, 4, 1))),
            "output must be a floating array to be averaged, got bool",
        ),
    ],
)
def test_wrong_data_is_explained(unhooked, call, message):
    # Traced only: what is wrong is seen without computing anything.
    with pytest.raises(ValueError, match=f"(?s){message}"):
        jax.eval_shape(call)


def push(image, action=sf.images, dim=2):
    return action.push(sf.Isometry.identity(dim, jnp.float64), jnp.asarray(image))
