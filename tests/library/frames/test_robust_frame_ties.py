"""Symmetric clouds and crowds: how many elements they need, and batches of them on a mesh."""

import functools
import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import symjax_frames as sf
from tests.helpers.clouds import draw_motions, padded

POINTS = 60
PHI = (1 + 5**0.5) / 2


def signed(point):
    return {tuple(s * x for s, x in zip(signs, point, strict=True)) for signs in SIGNS}


SIGNS = list(itertools.product((1, -1), repeat=3))


def solid(*points):
    """The vertices that even permutations and signs make of a few."""
    turned = {image for point in points for image in signed(point)}
    return np.array(sorted({tuple(np.roll(x, k).tolist()) for x in turned for k in range(3)}))


def two_rings(count, height, turn):
    angles = 2 * np.pi * np.arange(count) / count
    rings = [(angles, height), (angles + turn, -height)]
    return np.concatenate(
        [np.stack([np.cos(a), np.sin(a), np.full(count, z)], axis=1) for a, z in rings]
    )


def ball():
    """C60, of one length of bond."""
    return solid((0, 1, 3 * PHI), (1, 2 + PHI, 2 * PHI), (PHI, 2, 2 * PHI + 1))


def cluster():
    """The cluster of 55 atoms: a centre, an icosahedron, and one twice as large with its edges."""
    inner = solid((0, 1, PHI))
    far = (inner[:, None] + inner[None]).reshape(-1, 3)
    keep = np.sum((inner[:, None] - inner[None]) ** 2, axis=2).reshape(-1) < 5
    return np.concatenate([np.zeros((1, 3)), inner, np.unique(np.round(far[keep], 9), axis=0)])


def shaken(seed):
    """Every atom of C60 displaced by 0.05 Angstrom along each axis."""
    c60 = ball() * 1.43 / 2
    return c60 + 0.05 * np.random.default_rng(seed).normal(size=c60.shape)


def sphere(seed):
    points = np.random.default_rng(seed).normal(size=(POINTS, 3))
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def symmetric_clouds():
    """Clouds, and the orders of their symmetry groups."""
    clouds = {
        "C60": (ball(), 120),
        "dodecahedron": (solid((1, 1, 1), (0, 1 / PHI, PHI)), 120),
        "icosahedron": (solid((0, 1, PHI)), 120),
        "55 atoms": (cluster(), 120),
        "cube": (np.array(SIGNS, float), 48),
        "octahedron": (np.concatenate([np.eye(3), -np.eye(3)]), 48),
    }
    for count in (3, 5, 6, 8, 12):
        for height in (0.35, 1.0):
            clouds[f"prism {count} {height}"] = two_rings(count, height, 0), 4 * count
            turned = two_rings(count, height, np.pi / count)
            clouds[f"antiprism {count} {height}"] = turned, 4 * count
    return clouds


@pytest.fixture(scope="module")
def counts():
    """How many elements clouds need, by their names."""
    clouds = {name: cloud for name, (cloud, _) in symmetric_clouds().items()}
    clouds |= {f"shaken {seed}": shaken(seed) for seed in range(8)}
    clouds |= {f"sphere {seed}": sphere(seed) for seed in range(8)}
    frame = functools.partial(sf.robust_frame, capacity=(POINTS, 12), max_elements=1)
    run = jax.jit(jax.vmap(lambda *cloud: sf.frame_diagnostics(frame, *cloud).num_elements))
    found = run(*padded(clouds, "float64", POINTS))
    return dict(zip(clouds, found.tolist(), strict=True))


def test_symmetric_clouds_need_few_more_elements_than_their_group_has(counts):
    for name, (_, order) in symmetric_clouds().items():
        # No continuous frame has fewer: every element has as many images.
        assert order <= counts[name] <= 4 * order, (name, counts[name])
    for name in ("dodecahedron", "icosahedron", "55 atoms"):
        assert counts[name] <= 240, (name, counts[name])


def test_crowds_without_a_symmetry_need_few_elements(counts):
    for name, count in counts.items():
        if name.startswith(("shaken", "sphere")):
            assert count <= 64, (name, count)


def test_room_by_default_holds_shaken_c60_and_not_c60():
    """Whose atoms are marked, so that its images are no permutations of each other."""
    motions, order = draw_motions("E", 3, 2), np.random.default_rng(0).permutation(POINTS)
    marks = np.arange(POINTS) / POINTS
    clouds, their_marks = [], []
    for x in (shaken(0), ball()):
        clouds += [x, *motions.move(x)[:, order]]
        their_marks += [marks, marks[order], marks[order]]
    weight = jnp.asarray(np.random.default_rng(1).normal(size=(3, 8)))
    energy = lambda x, marks: jnp.sum(jnp.sin(x @ weight + 1) * marks[:, None])
    law = {"in_actions": (sf.points, None), "out_actions": None}
    room = {"capacity": (POINTS, 6), "max_elements": 480}
    frames = sf.robust_frame, functools.partial(sf.robust_frame, **room)

    @jax.jit
    @jax.vmap
    def run(*cloud):
        return [sf.frame_average(energy, frame, **law)(*cloud) for frame in frames]

    default, large = (
        np.ptp(np.reshape(x, (2, 3)), axis=1) for x in run(*map(np.stack, (clouds, their_marks)))
    )
    assert default[0] < 1e-11
    assert default[1] > 1e-3
    assert np.max(large) < 1e-11


def test_batch_on_a_mesh_is_gathered_nowhere():
    mesh = jax.make_mesh((2,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
    spread = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("batch"))
    batch = jax.ShapeDtypeStruct((4, 5, 3), jnp.float32, sharding=spread)

    def gathers(function):
        compiled = jax.jit(jax.vmap(function)).lower(batch).compile()
        return len(re.findall(r"all-gather(?:-start)?\(", compiled.as_text()))

    assert gathers(sf.robust_frame) == 0
    assert gathers(lambda x: jax.lax.top_k(x[:, 0], 3)) > 0


def test_rounding_of_points_on_an_axis_gives_no_second_one():
    """Points ahead on a line, that rounding takes off it, and behind them a crowd beside the line."""
    draws, count = np.random.default_rng(1), 48
    weight = jnp.asarray(draws.normal(size=(3, 7)), jnp.float32)
    angles, heights = draws.uniform(0, 6, count), np.linspace(0.9, 1.1, count)
    beside = np.stack(
        [np.cos(angles) / 2 + 0.5, np.sin(angles) * draws.uniform(size=count)], axis=1
    )
    ahead = heights[:, None] * np.eye(1, 3, 2)
    behind = np.concatenate([1e-3 * beside, -0.995 * heights[:, None]], axis=1)
    turns = np.stack([np.linalg.qr(draws.normal(size=(3, 3)))[0] for _ in range(8)])
    clouds = np.concatenate([ahead, behind]) @ np.swapaxes(turns, 1, 2) + 100 / 1.7

    def fn(x):
        hidden = jnp.sin(2 * x @ weight)
        return jnp.sum(jnp.mean(hidden**2 + jnp.tanh(3 * hidden) * hidden**3, axis=0))

    @jax.jit
    @jax.vmap
    def slopes(x):
        average = sf.frame_average(fn, sf.robust_frame, in_actions=sf.points, out_actions=None)
        return jax.grad(average)(x), jax.grad(fn)(x)

    found = slopes(jnp.asarray(clouds, jnp.float32))
    exact, bare = (np.ptp(length) for length in np.linalg.norm(found, axis=(2, 3)))
    # The coordinates are rounded by a hundredth of what is beside the line.
    assert exact < 1e-2 * np.linalg.norm(found[0][0]) and bare > 1e-2
