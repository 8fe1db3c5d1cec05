import functools
import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import symjax_frames as sf
from symjax_frames.testing import generic_cloud, hard_clouds
from tests.helpers.clouds import draw_motions, padded

POINTS = 9
ROWS = 64  # All clouds of a test go through one program as a batch of so many.
MOVES = {"in_actions": (sf.points, None), "frame_argnums": (0, 1)}


def backbone(dim, dtype):
    """An energy, a vector and a tensor of a masked cloud: generic, so that no symmetry hides."""
    draws = np.random.default_rng(3)
    weight, mix = (jnp.asarray(draws.normal(size=(dim, 8)) / 2, dtype) for _ in range(2))
    shift = jnp.asarray(draws.normal(size=(1, 8)), dtype)
    read = jnp.asarray(draws.normal(size=(8, 1 + dim + dim * dim)), dtype)

    def fn(x, mask):
        real = mask[:, None]
        hidden = jnp.where(real, jnp.tanh(x @ weight + shift), 0)
        # The mean, so that far points do not leave the others without influence.
        pooled = jnp.mean(hidden, axis=0, keepdims=True)
        hidden = jnp.where(real, jnp.sin(x @ mix + pooled + shift), 0)
        out = jnp.sum(hidden @ read, axis=0)
        return out[0], out[1 : 1 + dim], out[1 + dim :].reshape(dim, dim)

    return fn


def averaged(frame, dim=3, dtype="float64"):
    outputs = (None, sf.vectors, sf.tensors(2))
    return sf.frame_average(backbone(dim, dtype), frame, out_actions=outputs, **MOVES)


@functools.cache
def program(frame, options, dim, dtype):
    """Energy, vector, tensor and slope of the energy of a batch of clouds, compiled once."""
    fn = backbone(dim, dtype)
    if frame is not None:
        fn = averaged(functools.partial(frame, **dict(options)), dim, dtype)

    def outputs(x, mask):
        energy, vector, tensor = fn(x, mask)
        return energy, (vector, tensor)

    @jax.jit
    @jax.vmap
    def run(x, mask):
        (energy, (vector, tensor)), slope = jax.value_and_grad(outputs, has_aux=True)(x, mask)
        return energy, vector, tensor, slope

    return run


def evaluate(x, masks, frame=sf.robust_frame, **options):
    """What `program` returns for some clouds of at most nine points."""
    count, _, dim = x.shape
    assert count <= ROWS
    rows = [(0, ROWS - count), (0, POINTS - x.shape[1])]
    options = {"group": "E"} | options
    run = program(frame, tuple(sorted(options.items())), dim, str(x.dtype))
    values = run(np.pad(x, [*rows, (0, 0)]), np.pad(masks, rows))
    return [np.asarray(leaf)[:count] for leaf in values]


def of_order_one():
    """The hard clouds whose coordinates are of order one, of at most nine points."""
    clouds = hard_clouds() | {"pentagon": ring(5), "twisted": np.eye(3)[[0, 0, 1, 2]]}
    return {
        name: cloud
        for name, cloud in clouds.items()
        if len(cloud) <= POINTS and not name.startswith(("offset", "scale"))
    }


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


def ring(count, dim=3):
    angles = 2 * np.pi * np.arange(count) / count
    return np.stack([np.cos(angles), np.sin(angles), np.zeros(count)][:dim], axis=1)


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
SWEEP = [pytest.param("SE octahedral", "float32", marks=pytest.mark.fast)]
SWEEP += [("E", "float32")]  # The octahedral closure and reflections, each in float32 once.
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


# In the plane, the averages below are over O(2) and SE(2).
@pytest.mark.parametrize(
    ("dim", "group"), [(2, "SO"), (2, "E"), (3, "O"), (3, "SO"), (3, "E"), (3, "SE")]
)
def test_frame_moves_with_its_input(keys, dim, group):
    """As a weighted set, F(g x) = g F(x), in any order of the points."""
    x = np.asarray(generic_cloud(next(keys), 6, dim))
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


def as_weighted_set(elements, weights):
    """Elements of nonzero weight in an order of their own."""
    flat = [np.reshape(leaf, (len(weights), -1)) for leaf in (*elements, weights)]
    rows = np.concatenate(flat, axis=1)[np.asarray(weights) > 0]
    return rows[np.lexsort(np.round(rows, 6).T)]


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


def generic_clouds():
    return np.random.default_rng(2).normal(size=(4, 5, 3))


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
            real = jnp.where(mask[:, None], x, 0)
            for closure in CLOSURES[dtype]:
                frame = sf.robust_frame(x, mask, closure=closure, attributes=marks)
                seen = (real[None] - frame.elements.shift[:, None]) / unit @ frame.elements.linear
                waves = jnp.where(mask[None, :, None], jnp.sin(seen @ weight + 1), 0)
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
    bare = jax.device_get(batched()(generic_clouds().astype("float32")))
    for row in range(4):
        place = list(clouds).index(f"generic {row}")
        padded_one = jax.tree.map(lambda leaf, at=place: leaf[at], frames)
        bare_one = jax.tree.map(lambda leaf, at=row: leaf[at], bare)
        np.testing.assert_allclose(
            as_weighted_set(*padded_one), as_weighted_set(*bare_one), atol=1e-5
        )


@functools.cache
def batched():
    """Robust frames of a batch of clouds without padding."""
    return jax.jit(jax.vmap(sf.robust_frame))


def test_mirror_images_are_told_apart_by_proper_groups_only(keys):
    x = np.asarray(generic_cloud(next(keys), 6, 3))
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
    x = generic_cloud(next(keys), 6, 3)
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

    clouds = jnp.asarray(generic_clouds())
    singles = [run(cloud) for cloud in clouds]
    with pytest.raises(AssertionError, match="traced > 1 times"):
        run(clouds[0, :4])
    rows = jax.tree.map(lambda *leaves: jnp.stack(leaves), *singles)
    chex.assert_trees_all_close(batched()(clouds), rows, atol=1e-14, rtol=0)
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
