"""Volumes: every symmetry of the cube permutes voxels as it moves their coordinates."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import symjax_frames as sf
from symjax_frames.actions import fields

SIZE = 4
OH = sf.octahedral(inversion=True)
ELEMENTS = OH.cast(jnp.float64)
# Every order is exact on the grid, and the nearest voxel compiles fastest.
FIELDS = {
    "scalars": (sf.voxels, (2,)),
    "nearest": (fields(dim=3, order=0), (2,)),
    "vectors": (fields(sf.vectors, dim=3, order=0), (3,)),
    "pseudovectors": (fields(sf.pseudovectors, dim=3, order=0), (3,)),
    "regular": (fields(sf.regular(OH), dim=3, channel_axes=2, order=0), (48, 1)),
}


def draw(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def voxel_points():
    """The coordinates of every voxel, written down anew: x to the right, y up, z along the depth."""
    depth, height, width = np.indices((SIZE, SIZE, SIZE)) - (SIZE - 1) / 2
    return np.stack([width, -height, depth], axis=-1)


def by_hand(matrix, volume):
    """The volume with the value of every voxel carried to where its coordinates are moved."""
    moved = np.empty_like(volume)
    points = voxel_points()
    targets = points @ matrix.T + (SIZE - 1) / 2
    x, y, z = np.rint(np.moveaxis(targets, -1, 0)).astype(int)
    moved[z, SIZE - 1 - y, x] = volume
    return moved


@functools.partial(jax.jit, static_argnums=0)
def every(action, volume):
    """The volume pushed and pulled by all elements."""
    return jax.vmap(lambda g: (action.push(g, volume), action.pull(g, volume)))(ELEMENTS)


@pytest.mark.fast
@pytest.mark.parametrize("name", ["scalars", "nearest"])
def test_all_48_elements_permute_voxels_to_the_bit(name):
    action, channels = FIELDS[name]
    volume = draw((SIZE, SIZE, SIZE, *channels))
    expected = np.stack([by_hand(matrix, volume) for matrix in np.asarray(ELEMENTS.linear)])
    pushed, pulled = every(action, volume)
    np.testing.assert_array_equal(pushed, expected)
    inverses = sf.groups.quotient_table(OH)[:, 0]
    np.testing.assert_array_equal(pulled, expected[inverses])
    # The pull is the push for the 20 elements that are their own inverse, and for no other.
    same = [np.array_equal(*pair) for pair in zip(pulled, expected, strict=True)]
    assert sum(same) == 20 == sum(inverses == np.arange(48))


def test_a_single_voxel_moves_as_its_point():
    volume = np.zeros((SIZE, SIZE, SIZE, 2))
    volume[0, 1, 3, 0] = 1
    pushed = np.asarray(every(sf.voxels, volume)[0])[..., 0]
    points = voxel_points()
    lit = np.stack([points[one == 1][0] for one in pushed])
    moved = jax.vmap(lambda g: sf.points.push(g, jnp.asarray(points[0, 1, 3])))(ELEMENTS)
    np.testing.assert_array_equal(lit, moved)
    # One reflection keeps a point with two equal coordinates.
    assert pushed.sum() == 48 and len(np.unique(lit, axis=0)) == 24


def test_turns_about_z_turn_each_slice_as_an_image():
    volume = draw((SIZE, SIZE, SIZE, 2))
    turn = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    planar = sf.Isometry(jnp.asarray(turn[:2, :2]), jnp.zeros(2))
    spatial = sf.Isometry(jnp.asarray(turn), jnp.zeros(3))
    np.testing.assert_array_equal(
        jax.jit(sf.voxels.push)(spatial, volume), jax.jit(sf.images.push)(planar, volume)
    )


@pytest.mark.fast
@pytest.mark.parametrize("name", list(FIELDS)[1:])
def test_action_is_a_homomorphism_with_inverse(name):
    action, channels = FIELDS[name]
    volume = draw((2, 2, 2, *channels))
    second = jax.tree.map(lambda leaf: jnp.roll(leaf, 7, axis=0), ELEMENTS)

    @jax.jit
    @jax.vmap
    def laws(g, h):
        moved = action.push(h, volume)
        return {
            "composition": (action.push(g, moved), action.push(g.compose(h), volume)),
            "pull undoes push": (action.pull(h, moved), volume),
            "the other order": (action.push(g, moved), action.push(h.compose(g), volume)),
        }

    pairs = laws(ELEMENTS, second)
    for law in ("composition", "pull undoes push"):
        np.testing.assert_array_equal(*pairs[law], err_msg=law)
    assert not np.allclose(*pairs["the other order"])


def test_gradients_of_volumes_are_vectors_and_their_curls_pseudovectors():
    volume = np.pad(draw((2, 2, 2)), 1)
    scalar, vectors = fields(dim=3, channel_axes=0, order=0), FIELDS["vectors"][0]

    def difference(values, component):
        axis, sign = ((2, 1), (1, -1), (0, 1))[component]
        return sign * (jnp.roll(values, -1, axis) - jnp.roll(values, 1, axis))

    def gradient(volume):
        return jnp.stack([difference(volume, i) for i in range(3)], axis=-1)

    def curl(field):
        d = lambda i, j: difference(field[..., j], i)
        return jnp.stack([d(1, 2) - d(2, 1), d(2, 0) - d(0, 2), d(0, 1) - d(1, 0)], axis=-1)

    field = np.pad(draw((2, 2, 2, 3), seed=1), [(1, 1)] * 3 + [(0, 0)])

    @jax.jit
    @jax.vmap
    def sides(g):
        slope, whirl = gradient(volume), curl(field)
        turned = curl(vectors.push(g, field))
        return {
            "gradient": (gradient(scalar.push(g, volume)), vectors.push(g, slope)),
            "curl": (turned, FIELDS["pseudovectors"][0].push(g, whirl)),
            "gradient left alone": (
                gradient(scalar.push(g, volume)),
                FIELDS["nearest"][0].push(g, slope),
            ),
            "curl as a vector": (turned, vectors.push(g, whirl)),
        }

    pairs = sides(ELEMENTS)
    np.testing.assert_array_equal(*pairs["gradient"])
    np.testing.assert_allclose(*pairs["curl"], atol=1e-14)  # sums of four in another order
    assert not np.allclose(*pairs["gradient left alone"])
    assert not np.allclose(*pairs["curl as a vector"])


def test_averages_of_a_network_on_volumes():
    volume, weights = draw((SIZE, SIZE, SIZE, 1)), draw((SIZE, SIZE, SIZE, 1), seed=1)
    action = FIELDS["nearest"][0]
    bare = lambda volume: jnp.sin(volume * weights + jnp.roll(volume, 1, axis=0))
    group = sf.octahedral()
    average = sf.group_average(bare, group, in_actions=action, out_actions=action)

    @jax.jit
    def sides(volume):
        def both(g):
            moved = action.push(g, volume)
            return (
                (average(moved), action.push(g, average(volume))),
                (bare(moved), action.push(g, bare(volume))),
            )

        return jax.vmap(both)(jax.tree.map(lambda leaf: leaf[jnp.array([3, 10, 24])], ELEMENTS))

    averaged, alone = sides(volume)
    # The third is the inversion, which the group of rotations has not.
    np.testing.assert_allclose(averaged[0][:2], averaged[1][:2], atol=1e-14)
    assert not np.allclose(averaged[0][2], averaged[1][2])
    assert not np.allclose(alone[0][0], alone[1][0])


def test_an_element_off_the_grid_interpolates():
    """Linear interpolation is exact on linear volumes, away from the faces."""
    angle = 0.3
    linear = np.eye(3)
    linear[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    # Along (1, 1, 1), by a rotation that moves all three axes.
    basis, _ = np.linalg.qr(np.array([[1.0, 1, 0], [1, -1, 1], [1, 0, 0]]))
    linear = basis @ linear @ basis.T
    slope = np.array([1.0, -2.0, 0.5])
    volume = voxel_points() @ slope
    g = sf.Isometry(jnp.asarray(linear), jnp.asarray([0.1, 0.0, -0.2]))
    moved = jax.jit(fields(dim=3, channel_axes=0).pull)(g, volume)
    sources = voxel_points() @ linear.T + np.array([0.1, 0.0, -0.2])
    inside = np.max(np.abs(sources), axis=-1) <= (SIZE - 1) / 2
    assert inside.sum() > 20
    np.testing.assert_allclose(moved[inside], (sources @ slope)[inside], atol=1e-14)
    assert not np.allclose(moved[inside], volume[inside], atol=0.1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fields(dim=4), r"dim must be 2 .images. or 3 .volumes., got 4"),
        (lambda: push(np.ones((4, 4, 5, 1))), "must be cubic.*depth 4, height 4 and width 5.*cube"),
        (lambda: push(np.ones((4, 4, 4))), r"depth, height, width and 1 channel.*\(4, 4, 4\)"),
        (lambda: push(np.ones((4, 4, 4, 1)), dim=2), "elements of space.*got .* 2 dimensions"),
        (lambda: push(np.ones((4, 4, 4, 1), int)), "volumes of dtype int64 .*dim=3, order=0"),
    ],
)
def test_mistakes_are_said(unhooked, call, message):
    with pytest.raises(ValueError, match=message):
        call()


def push(volume, dim=3):
    return sf.voxels.push(sf.Isometry.identity(dim, jnp.float64), volume)


def test_boxes_are_kept_by_signs():
    volume = draw((2, 3, 4, 1))
    action, elements = fields(dim=3, rectangular=True), sf.signs(3).cast(jnp.float64)
    moved = jax.jit(jax.vmap(lambda g: action.push(g, volume)))(elements)
    # In the order of the group: z changes fastest, and x, the last axis, slowest.
    flips = [
        [axis for axis, sign in zip((2, 1, 0), np.diag(matrix), strict=True) if sign < 0]
        for matrix in np.asarray(elements.linear)
    ]
    np.testing.assert_array_equal(moved, np.stack([np.flip(volume, axes) for axes in flips]))
