"""Robust averages are exact: on every cloud, for every group, in every order of the points."""

import functools
import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import symjax_frames as sf
from symjax_frames.testing import hard_clouds
from tests.helpers.clouds import draw_cloud, draw_motions, padded
from tests.helpers.robust import (
    POINTS,
    as_weighted_set,
    averaged,
    evaluate,
    generic_clouds,
    of_order_one,
    ring,
)


def test_average_is_exact_in_half_precision(keys):
    """Up to the rounding of the coordinates; the control is the bare backbone."""
    x = jax.random.normal(next(keys), (100, 6, 3), "bfloat16")
    draws = np.random.default_rng(4)
    weight = jnp.asarray(draws.normal(size=(3, 3)), "bfloat16")
    bare = lambda x: jnp.sum(jnp.sin(x @ weight + jnp.bfloat16(1)), axis=0)
    frame = functools.partial(sf.robust_frame, group="O")
    average = sf.frame_average(bare, frame, in_actions=sf.vectors, out_actions=sf.vectors)

    @jax.jit
    @jax.vmap
    def run(x, key):
        g = sf.orthogonal(3).draw(key, x.dtype)
        both = jax.vmap(lambda x: (average(x), bare(x)))(jnp.stack([x, sf.vectors.push(g, x)]))
        return [jnp.max(jnp.abs(out[1] - sf.vectors.push(g, out[0]))) for out in both]

    ours, control = run(x, jax.random.split(next(keys), len(x)))
    eps = float(jnp.finfo("bfloat16").eps)
    # Sums of six sines of three products, each of a few roundings.
    assert np.median(np.asarray(ours, float)) < 10 * eps
    assert np.median(np.asarray(control, float)) > 100 * eps


# Roundings of energy, vector, tensor and slope: weights and axes are quotients of squares, and
# steps ten times as steep; slopes take both once more.
BOUND = np.array([200, 200, 200, 5000])


def violations(clouds, dtype, frame, group="E", **options):
    """How much the four outputs change under two motions and permutations, for each cloud."""
    x, masks = map(np.asarray, padded(clouds, dtype, POINTS))
    count, dim = len(x), x.shape[2]
    rng = np.random.default_rng(0)
    orders = [rng.permuted(np.tile(np.arange(POINTS), (count, 1)), axis=1) for _ in range(2)]
    # The clouds as they are, turned, and (for groups that have one) in a mirror.
    motions = draw_motions(group, dim, 2)
    clouds, their_masks = [x], [masks]
    for linear, shift, order in zip(*motions, orders, strict=True):
        moved = (x @ linear.T + shift).astype(dtype)
        clouds.append(np.take_along_axis(moved, order[..., None], axis=1))
        their_masks.append(np.take_along_axis(masks, order, axis=1))
    values = evaluate(
        np.concatenate(clouds), np.concatenate(their_masks), frame, group=group, **options
    )
    here, *there = zip(*[np.split(value, 3) for value in values], strict=True)

    def change(value, expected):
        axes = tuple(range(1, value.ndim))
        size = 1 + np.max(np.abs(expected), axis=axes)
        return np.max(np.abs(value - expected), axis=axes) / size

    worst = np.zeros((count, 4))
    for linear, order, moved in zip(motions.linear, orders, there, strict=True):
        energy, vector, tensor, slope = here
        slope = np.take_along_axis(slope @ linear.T, order[..., None], axis=1)
        expected = energy, vector @ linear.T, linear @ tensor @ linear.T, slope
        worst = np.maximum(worst, np.stack([*map(change, moved, expected)], axis=1))
    return worst


SETTINGS = {
    "E": {"group": "E"},
    "E octahedral": {"group": "E", "closure": "octahedral"},
    "SE octahedral": {"group": "SE", "closure": "octahedral"},
}
SWEEP = [pytest.param("E octahedral", "float32", marks=pytest.mark.fast)]
SWEEP += [(name, "float64") for name in SETTINGS]


@pytest.mark.parametrize(("name", "dtype"), SWEEP)
def test_average_is_exact_on_every_cloud(name, dtype):
    """With rotations, reflections, shifts and permutations."""
    clouds, options = of_order_one(), SETTINGS[name]
    bound = BOUND * np.finfo(dtype).eps
    found = violations(clouds, dtype, sf.robust_frame, **options)
    outputs = [0, 1, 2, 3] if name.endswith("octahedral") else [0, 1, 3]
    for cloud, errors in zip(clouds, found, strict=True):
        assert np.all(errors[outputs] < bound[outputs]), (cloud, errors)
    if name == "E":
        # What the octahedral closure is needed for.
        for cloud in ("carbon dioxide", "one point"):
            assert found[list(clouds).index(cloud), 2] > 1e-2


@pytest.mark.parametrize("dtype", [pytest.param("float32", marks=pytest.mark.fast), "float64"])
def test_networks_alone_and_pca_frames_are_not_exact(dtype):
    clouds = of_order_one()
    alone = violations(clouds, dtype, None)
    pca = violations(clouds, dtype, sf.pca_frame)
    for cloud, errors in zip(clouds, alone, strict=True):
        assert errors.min() > 1e-3, (cloud, errors)
    for cloud in ("ammonia", "methane", "cube", "octahedron", "square", "cube with 1e-6 noise"):
        # A gap of 1e-6 is wide in float64.
        if not (cloud.endswith("noise") and dtype == "float64"):
            assert pca[list(clouds).index(cloud)].max() > 1e-2, cloud


# In the plane, the averages below are over O(2) and SE(2), in space those above over E(3).
@pytest.mark.parametrize(("dim", "group"), [(2, "SO"), (2, "E"), (3, "O"), (3, "SO"), (3, "SE")])
def test_frame_moves_with_its_input(dim, group):
    """As a weighted set, F(g x) = g F(x), in any order of the points."""
    x = draw_cloud(0, 6, dim)
    g = draw_motions(group, dim, 2, seed=1)
    # Low enough for several elements.
    frame = functools.partial(sf.robust_frame, group=group, threshold=0.3)
    frames = jax.device_get(jax.jit(jax.vmap(frame))(np.stack([x, *g.move(x)[:, ::-1]])))
    first, *others = (jax.tree.map(lambda leaf, row=row: leaf[row], frames) for row in range(3))
    assert np.sum(first.weights > 0) > 1
    np.testing.assert_allclose(np.sum(first.weights), 1, atol=1e-15)
    for linear, shift, moved in zip(*g, others, strict=True):
        expected = linear @ first.elements.linear, first.elements.shift @ linear.T + shift
        np.testing.assert_allclose(
            as_weighted_set(moved.elements, moved.weights),
            as_weighted_set(expected, first.weights),
            atol=1e-11,
        )
    identity = np.broadcast_to(np.eye(dim), first.elements.linear.shape)
    products = np.swapaxes(first.elements.linear, -1, -2) @ first.elements.linear
    np.testing.assert_allclose(products, identity, atol=1e-14)
    determinants = set(np.round(np.linalg.det(first.elements.linear)))
    assert determinants == ({1} if group in ("SO", "SE") else {-1, 1})
    assert np.any(first.elements.shift) == (group in ("E", "SE"))
    # With reflections it is closed under that of the last axis, as draws in orbits take it to be.
    mirrored = first.elements.linear * np.where(np.arange(dim) == dim - 1, -1, 1)
    sets = [
        as_weighted_set((linear, first.elements.shift), first.weights)
        for linear in (first.elements.linear, mirrored)
    ]
    assert np.allclose(*sets, atol=1e-14) == (group in ("O", "E"))


def test_mirror_images_are_told_apart_by_proper_groups_only():
    x = draw_cloud(0, 6, 3)
    both = np.stack([x, x * np.array([1.0, 1.0, -1.0])])
    energies = {
        name: evaluate(both, np.ones((2, 6), bool), **options)[0]
        for name, options in SETTINGS.items()
    }
    for name in ("E", "E octahedral"):
        assert abs(np.diff(energies[name])) < 1e-13
    assert abs(np.diff(energies["SE octahedral"])) > 1e-3


@pytest.mark.parametrize("group", ["O", pytest.param("SE", marks=pytest.mark.fast)])
def test_average_in_the_plane_is_exact(group):
    """Regular polygons, segments, points: the same guarantees, with and without shifts and mirrors."""
    clouds = planar_clouds()
    found = violations(clouds, "float64", sf.robust_frame, group=group, closure="octahedral")
    assert np.all(found < np.finfo(float).eps * BOUND), np.max(found, axis=1)


def test_pca_average_in_the_plane_is_not_exact():
    clouds = planar_clouds()
    found = violations(clouds, "float64", sf.pca_frame, group="O")
    assert np.max(found[[name.endswith("gon") for name in clouds]]) > 1e-2


def planar_clouds():
    clouds = {f"{count}-gon": ring(count, 2) for count in (3, 4, 5, 6, 8)}
    clouds["segment"] = np.array([[0.0, 0.0], [1.0, 2.0]])
    clouds["uneven segment"] = np.array([[0.0, 0.0], [1.0, 2.0], [3.0, 6.0]])
    clouds |= {"point": np.array([[0.3, -0.2]]), "points": np.full((3, 2), 0.3)}
    clouds["rectangle"] = np.array([[2.0, 1], [-2, 1], [2, -1], [-2, -1]])
    return clouds


def test_attributes_tell_points_apart():
    """Of a cube with one marked corner only that is the first axis; and the average stays exact."""
    cube, mask = hard_clouds()["cube"], np.arange(POINTS) < 8
    cube = np.pad(cube, ((0, 1), (0, 0)))
    charges = np.where(np.arange(POINTS) == 0, 6, 1)
    order = np.roll(np.arange(POINTS), 2)

    @jax.jit
    @jax.vmap
    def run(x, mask, charges):
        frame = functools.partial(sf.robust_frame, attributes=charges)
        count = sf.frame_diagnostics(frame, x, mask).num_elements
        return averaged(frame)(x, mask)[0], count

    moved = draw_motions("E", 3, 2).move(cube)
    clouds = np.stack([cube, cube, *moved, cube[order]])
    marks = np.stack([np.ones_like(charges), *[charges] * 3, charges[order]])
    energies, counts = run(clouds, np.stack([*[mask] * 4, mask[order]]), marks)
    # The second axis is one of the three that are nearest to it.
    np.testing.assert_array_equal(counts, [48, 6, 6, 6, 6])
    np.testing.assert_allclose(energies[2:], np.full(3, energies[1]), atol=1e-13)


def test_samples_are_elements_of_nonzero_weight(keys):
    """Of the 96 elements that a frame holds by default, a generic cloud needs a few."""
    x = draw_cloud(1, 6, 3)
    corner = lambda x: x[0, 0] + 2 * x[1, 1] + 3 * x[2, 2]
    sampled = sf.sampled_average(corner, sf.robust_frame, in_actions=sf.points, out_actions=None)

    @jax.jit
    def run(x, keys):
        drawn = jax.vmap(lambda key: sampled(key, x))(keys)
        return sf.robust_frame(x), drawn

    frame, drawn = jax.device_get(run(x, jax.random.split(next(keys), 400)))
    seen = (np.asarray(x)[None] - frame.elements.shift[:, None]) @ frame.elements.linear
    used = (seen[:, 0, 0] + 2 * seen[:, 1, 1] + 3 * seen[:, 2, 2])[frame.weights > 0]
    assert 2 <= len(used) <= 8
    distances = np.abs(drawn[:, None] - used)
    assert np.max(np.min(distances, axis=1)) < 1e-14
    shares = np.mean(distances < 1e-14, axis=0)
    # Three standard deviations of a share of one half.
    np.testing.assert_allclose(shares, frame.weights[frame.weights > 0], atol=0.08)


def test_one_trace_a_shape_and_batches_are_loops():
    chex.clear_trace_counter()

    @jax.jit
    @chex.assert_max_traces(n=1)
    def run(x):
        return sf.robust_frame(x)

    # In the plane, where there are fewer operations to compile one by one.
    clouds = jnp.asarray(generic_clouds()[..., :2])
    singles = [run(cloud) for cloud in clouds]
    with pytest.raises(AssertionError, match="traced > 1 times"):
        run(clouds[0, :4])
    rows = jax.tree.map(lambda *leaves: jnp.stack(leaves), *singles)
    chex.assert_trees_all_close(
        jax.jit(jax.vmap(sf.robust_frame))(clouds), rows, atol=1e-14, rtol=0
    )
    # Operation by operation, without jit.
    chex.assert_trees_all_close(sf.robust_frame(clouds[0]), singles[0], rtol=1e-7, atol=1e-14)


CLOUD = jnp.eye(3)
MISTAKES = [
    ("points", {"points": CLOUD[None]}, "(1, 3, 3)"),
    ("points", {"points": jnp.eye(4)}, "(4, 4)"),
    ("mask", {"mask": jnp.ones(3)}, "float64"),
    ("group", {"group": "T"}, "'T'"),
    ("closure", {"closure": "none"}, "'none'"),
    ("threshold", {"threshold": 1.0}, "1.0"),
    ("capacity", {"capacity": (3,)}, "(3,)"),
    ("capacity[1]", {"capacity": (3, 0)}, "0"),
    ("max_elements", {"max_elements": 0}, "0"),
    ("attributes", {"attributes": jnp.ones(4)}, "(4,)"),
]


@pytest.mark.usefixtures("unhooked")
@pytest.mark.parametrize(("argument", "wrong", "received"), MISTAKES)
def test_mistakes_are_named(argument, wrong, received):
    """By the argument and by what was received; what is allowed stands between."""
    with pytest.raises(ValueError, match=f"^{re.escape(argument)} must be (?s:.*), got ") as caught:
        sf.robust_frame(**{"points": CLOUD, **wrong})
    assert received in str(caught.value).rpartition(", got ")[2]
