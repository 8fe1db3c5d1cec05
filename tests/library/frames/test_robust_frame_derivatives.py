"""Robust averages are smooth: no jump, no NaN, and derivatives that are those of the values."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import symjax_frames as sf
from symjax_frames.testing import hard_clouds
from tests.helpers.clouds import padded
from tests.helpers.robust import (
    POINTS,
    as_weighted_set,
    evaluate,
    generic_clouds,
    of_order_one,
    ring,
)


def white_cloud():
    """Seven centred points with covariance one: axes of any lengths are its principal ones."""
    draws = np.random.default_rng(5).normal(size=(7, 3))
    return 2 * np.linalg.qr(np.column_stack([np.ones(7), draws]))[0][:, 1:]


PATHS = {
    # Two eigenvalues cross: PCA frames exchange their axes.
    "crossing": lambda s: white_cloud() * np.array([1 + s, 1.0, 0.4]),
    # Straightened, and bent the other way.
    "line": lambda s: np.array([[-1.0, s, 0], [0, 0, 0], [1.2, 2 * s, s], [2.9, 0, -s]]),
    # A pyramid turned inside out, through the plane.
    "plane": lambda s: np.array([[0, 0, s], *ring(3)]),
}


def jumps(frame):
    """What is left of the largest change along each path when its interval is halved 25 times over."""
    interval = dict.fromkeys(PATHS, (-0.1, 0.1))
    for _ in range(25):
        steps = {path: np.linspace(*interval[path], 9) for path in PATHS}
        clouds = {(path, row): PATHS[path](steps[path][row]) for path in PATHS for row in range(9)}
        energies = evaluate(*padded(clouds, "float64", POINTS), frame)[0].reshape(len(PATHS), 9)
        for path, values in zip(PATHS, energies, strict=True):
            largest = np.argmax(np.abs(np.diff(values)))
            interval[path] = steps[path][largest], steps[path][largest + 1]
    return dict(zip(PATHS, np.abs(energies[:, -1] - energies[:, 0]), strict=True))


def test_energy_never_jumps():
    robust = jumps(sf.robust_frame)
    assert max(robust.values()) < 1e-12, robust
    assert jumps(sf.pca_frame)["crossing"] > 1e-2


def test_gradient_is_that_of_central_differences(keys):
    """Through symmetric, planar and collinear clouds, for every direction."""
    clouds = of_order_one()
    # Like acetylene: two ends tie for the first axis, and what is left of the others is noise.
    clouds["four on a line"] = np.array([[0, 0, 0.6], [0, 0, -0.6], [0, 0, 1.7], [0, 0, -1.7]])
    del clouds["all points equal"], clouds["one point"]  # a shape without a size has no gradient
    x, masks = map(np.asarray, padded(clouds, "float64", POINTS))
    slope, worst = evaluate(x, masks)[3], 0
    size = np.linalg.norm(slope, axis=(1, 2)) + 1e-3
    rng = np.random.default_rng(1)
    for _ in range(3):
        along = rng.normal(size=x.shape) * masks[..., None]
        central = []
        for step in (1e-5, 1e-6):
            above, below = (evaluate(x + s * step * along, masks)[0] for s in (1, -1))
            central.append((above - below) / (2 * step))
        error = np.abs(central - np.sum(slope * along, axis=(1, 2))) / size
        worst = np.maximum(worst, np.min(error, axis=0))
    # 1e-16 / 1e-6, and the square of the step times a third derivative of up to 1e4.
    assert np.all(worst < 1e-6), dict(zip(clouds, worst, strict=True))


def test_detached_frames_are_constant():
    @jax.jit
    def slope(x):
        def total(x):
            leaves = jax.tree.leaves(sf.robust_frame(x, detach=True))
            return sum(jnp.sum(jnp.sin(leaf)) for leaf in leaves)

        return jax.grad(total)(x)

    assert not np.any(slope(hard_clouds()["ammonia"]))


LONGEST = 12  # Points of the hard clouds, at most.
CLOSURES = {
    "bfloat16": ["signs"],
    "float32": ["signs", "octahedral"],
    "float64": ["octahedral"],  # With its second derivative.
}


def degenerate_clouds():
    """Every hard cloud, clouds at the ends of the floats, and four that are in general position."""
    clouds = hard_clouds() | {"no points": np.zeros((0, 3)), "huge": np.full((2, 3), 1e38)}
    clouds["far"] = np.eye(3) * 1e-30 + 1.0
    return clouds | {f"generic {row}": cloud for row, cloud in enumerate(generic_clouds())}


def unit_of(x):
    """The largest coordinate of each cloud: derivatives are of the order of its inverse powers."""
    return np.maximum(np.max(np.abs(x), axis=(1, 2)), np.asarray(1e-30, x.dtype))


@functools.cache
def derivatives(dtype):
    """Slopes of averages, their frames, and in float64 the second derivative along a direction."""
    weight = jnp.asarray(np.random.default_rng(1).normal(size=(3, 3)), dtype)

    @jax.jit
    @jax.vmap
    def run(x, mask, marks, unit, direction):
        def total(x):
            """The sum over all closures: a NaN of one is a NaN of the sum."""
            value, frames = 0, {}
            # In the dtype of the frame, which has 32 bits at least.
            wide = jnp.dtype(dtype if dtype == "float64" else "float32")
            real = jnp.where(mask[:, None], x, 0).astype(wide)
            for closure in CLOSURES[dtype]:
                frame = sf.robust_frame(x, mask, closure=closure, attributes=marks)
                seen = (real[None] - frame.elements.shift[:, None]) / unit.astype(wide)
                turned = seen @ frame.elements.linear @ weight.astype(wide)
                waves = jnp.where(mask[None, :, None], jnp.sin(turned + 1), 0)
                value += jnp.sum(frame.weights * jnp.sum(waves, axis=(1, 2)))
                frames[closure] = frame
            return value, frames

        if dtype != "float64":
            return jax.grad(total, has_aux=True)(x)

        def along(x):
            slope, frames = jax.grad(total, has_aux=True)(x)
            return jnp.sum(slope * direction), (slope, frames)

        second, (slope, frames) = jax.grad(along, has_aux=True)(x)
        return slope, frames, second

    return run


def test_second_derivative_is_that_of_the_gradient():
    """On clouds that are not collinear, where there is one: ties, planes and generic ones."""
    clouds = degenerate_clouds()
    x, masks = map(np.asarray, padded(clouds, "float64", LONGEST))
    marks, unit = np.zeros(masks.shape), unit_of(x)
    directions = np.random.default_rng(1).normal(size=x.shape) * masks[..., None]
    step = 1e-5
    (_, _, product), (above, *_), (below, *_) = (
        jax.device_get(derivatives("float64")(x + s * directions, masks, marks, unit, directions))
        for s in (0, step, -step)
    )
    smooth = [list(clouds).index(name) for name in ("square", "methane", "water", "generic 0")]
    # Products with the transpose of what central differences see: the same, as slopes are gradients.
    product, central = product[smooth], ((above - below) / (2 * step))[smooth]
    size = np.max(np.abs(product), axis=(1, 2), keepdims=True)
    np.testing.assert_array_less(np.abs(product - central) / size, 1e-5)
    assert size.min() > 1e-2


@pytest.mark.parametrize("dtype", ["bfloat16", "float32", "float64"])
def test_no_nan_on_any_cloud(dtype):
    clouds = degenerate_clouds()
    x, masks = map(np.asarray, padded(clouds, dtype, LONGEST))
    # Beyond the range of float32: they are clipped to it.
    marks = np.tile(1e300 * np.arange(LONGEST), (len(x), 1))
    unit = unit_of(x)
    directions = np.random.default_rng(3).normal(size=x.shape) * unit[:, None, None].astype(
        "float64"
    )
    found = jax.device_get(derivatives(dtype)(x, masks, marks, unit, directions.astype(x.dtype)))
    for path, leaf in jax.tree_util.tree_leaves_with_path(found):
        for row, name in enumerate(clouds):
            finite = np.all(np.isfinite(np.asarray(leaf[row], "float64")))
            assert finite, (name, jax.tree_util.keystr(path))
    frames = found[1]
    assert set(frames) == set(CLOSURES[dtype])
    for frame in frames.values():
        totals = np.sum(np.asarray(frame.weights, "float64"), axis=1)
        np.testing.assert_allclose(totals, 1, atol=4 * float(jnp.finfo(dtype).eps))


def test_padding_changes_no_bit():
    """Whatever it holds, in clouds and attributes; and clouds with it are as those without."""
    clouds, rng = degenerate_clouds(), np.random.default_rng(0)
    x, masks = map(np.asarray, padded(clouds, "float32", LONGEST))
    fills = [np.zeros_like(x), np.full_like(x, np.nan), rng.normal(size=x.shape).astype("float32")]
    numbers = rng.normal(size=masks.shape)
    unit = unit_of(x)
    run = lambda x, marks: jax.device_get(derivatives("float32")(x, masks, marks, unit, x))
    results = [
        run(np.where(masks[..., None], x, fill), np.where(masks, numbers, fill[..., 0]))
        for fill in fills
    ]
    for other in results[1:]:
        chex.assert_trees_all_equal(results[0], other)
    assert not np.any(results[0][0][~masks])
    frames = run(x, np.zeros(masks.shape))[1]["signs"]
    bare = jax.device_get(jax.jit(jax.vmap(sf.robust_frame))(generic_clouds().astype("float32")))
    for row in range(4):
        place = list(clouds).index(f"generic {row}")
        padded_one = jax.tree.map(lambda leaf, at=place: leaf[at], frames)
        bare_one = jax.tree.map(lambda leaf, at=row: leaf[at], bare)
        np.testing.assert_allclose(
            as_weighted_set(*padded_one), as_weighted_set(*bare_one), atol=1e-5
        )
