import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import symjax_frames as sf
from symjax_frames.testing import generic_cloud, hard_clouds
from tests.helpers.clouds import padded

POINTS = 9
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


def energy_of(frame, dim=3, dtype="float64"):
    return lambda x, mask: averaged(frame, dim, dtype)(x, mask)[0]


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
    averaged = sf.frame_average(bare, frame, in_actions=sf.vectors, out_actions=sf.vectors)

    @jax.jit
    @jax.vmap
    def run(x, key):
        g = sf.orthogonal(3).draw(key, x.dtype)
        law = lambda fn: jnp.max(jnp.abs(fn(sf.vectors.push(g, x)) - sf.vectors.push(g, fn(x))))
        return law(averaged), law(bare)

    ours, control = run(x, jax.random.split(next(keys), len(x)))
    eps = float(jnp.finfo("bfloat16").eps)
    # Sums of six sines of three products, each of a few roundings.
    assert np.median(np.asarray(ours, float)) < 10 * eps
    assert np.median(np.asarray(control, float)) > 100 * eps


def ring(count, dim=3):
    angles = 2 * np.pi * np.arange(count) / count
    return np.stack([np.cos(angles), np.sin(angles), np.zeros(count)][:dim], axis=1)


def changes(average, group, x, mask, key):
    """Violations under a motion and a permutation: of energy, vector, tensor, and forces."""
    energy = lambda x: average(x, mask)[0]
    g = group.draw(key, x.dtype)
    order = jax.random.permutation(key, len(x))
    moved = sf.points.push(g, x)[order]
    values = (*average(x, mask), jax.grad(energy)(x))
    others = (*average(moved, mask[order]), jax.grad(lambda y: average(y, mask[order])[0])(moved))
    actions = (None, sf.vectors, sf.tensors(2), sf.vectors)
    expected = [
        value if action is None else action.push(g, value)
        for value, action in zip(values, actions, strict=True)
    ]
    expected[3] = expected[3][order]
    return jnp.stack(
        [
            jnp.max(jnp.abs(a - b)) / (1 + jnp.max(jnp.abs(b)))
            for a, b in zip(others, expected, strict=True)
        ]
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_average_is_exact_on_every_cloud(keys, dtype):
    """For E and SE, with rotations, reflections, shifts and permutations; PCA frames are not."""
    clouds = of_order_one()
    x, masks = padded(clouds, dtype, POINTS)
    octahedral = functools.partial(sf.robust_frame, closure="octahedral")
    settings = {
        "E": (sf.robust_frame, sf.euclidean(3)),
        "E octahedral": (octahedral, sf.euclidean(3)),
        "SE octahedral": (functools.partial(octahedral, group="SE"), sf.special_euclidean(3)),
        "PCA": (sf.pca_frame, sf.euclidean(3)),
        "none": (None, sf.euclidean(3)),
    }

    @jax.jit
    def run(x, masks, keys):
        worst = {}
        for name, (frame, group) in settings.items():
            average = backbone(3, dtype) if frame is None else averaged(frame, dtype=dtype)
            worst[name] = jax.vmap(functools.partial(changes, average, group))(x, masks, keys)
        return worst

    found = {}
    for _ in range(2):
        drawn = run(x, masks, jax.random.split(next(keys), len(x)))
        found = {name: np.fmax(found.get(name, 0), np.asarray(drawn[name])) for name in settings}
    # Weights and axes are quotients of squares, and steps ten times as steep; forces take both
    # once more.
    bound = jnp.finfo(dtype).eps * np.array([200, 200, 200, 5000])
    for name, errors in found.items():
        for row, cloud in enumerate(clouds):
            if name.endswith("octahedral"):
                assert np.all(errors[row] < bound), (name, cloud, errors[row])
            elif name == "E":
                assert np.all(errors[row, [0, 1, 3]] < bound[[0, 1, 3]]), (cloud, errors[row])
            elif name == "none":
                assert errors[row].min() > 1e-3, (cloud, errors[row])
    row = list(clouds).index
    # What each closure and frame is needed for.
    assert found["E"][row("carbon dioxide"), 2] > 1e-2
    assert found["E"][row("one point"), 2] > 1e-2
    for cloud in ("ammonia", "methane", "cube", "octahedron", "square", "cube with 1e-6 noise"):
        # A gap of 1e-6 is wide in float64.
        if not (cloud.endswith("noise") and dtype == "float64"):
            assert found["PCA"][row(cloud)].max() > 1e-2, cloud


@pytest.mark.parametrize("group", ["O", "SO", "E", "SE"])
@pytest.mark.parametrize("dim", [2, 3])
def test_frame_moves_with_its_input(keys, dim, group):
    """As a weighted set, F(g x) = g F(x), in any order of the points."""
    x = generic_cloud(next(keys), 6, dim)
    draws = {"O": sf.orthogonal, "SO": sf.special_orthogonal, "E": sf.euclidean}
    g = draws.get(group, sf.special_euclidean)(dim).draw(next(keys), x.dtype)
    # Low enough for several elements.
    frame = jax.jit(functools.partial(sf.robust_frame, group=group, threshold=0.3))
    first, moved = frame(x), frame(sf.points.push(g, x)[::-1])
    assert np.sum(first.weights > 0) > 1
    np.testing.assert_allclose(np.sum(first.weights), 1, atol=1e-15)
    expected = jax.tree.map(lambda leaf: leaf[None], g).compose(first.elements)
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


def jump(energy, path, low=-0.1, high=0.1):
    """What is left of the largest change along a path when its interval is halved again and again."""
    for _ in range(25):
        steps = np.linspace(low, high, 9)
        values = np.asarray(energy(jnp.asarray(np.stack([path(s) for s in steps]))))
        largest = np.argmax(np.abs(np.diff(values)))
        low, high = steps[largest], steps[largest + 1]
    return np.abs(values[-1] - values[0])


def test_energy_never_jumps():
    energies = {}
    for name, frame in {"robust": sf.robust_frame, "PCA": sf.pca_frame}.items():
        energy = energy_of(frame)
        run = jax.jit(jax.vmap(lambda x, energy=energy: energy(x, jnp.ones(len(x), bool))))
        energies[name] = run
    jumps = {
        name: {path: jump(run, PATHS[path]) for path in PATHS} for name, run in energies.items()
    }
    assert max(jumps["robust"].values()) < 1e-12, jumps
    assert jumps["PCA"]["crossing"] > 1e-2, jumps


def test_gradient_is_that_of_central_differences(keys):
    """Through symmetric, planar and collinear clouds, for every direction; detached it is not."""
    clouds = of_order_one()
    # Like acetylene: two ends tie for the first axis, and what is left of the others is noise.
    clouds["four on a line"] = np.array([[0, 0, 0.6], [0, 0, -0.6], [0, 0, 1.7], [0, 0, -1.7]])
    del clouds["all points equal"], clouds["one point"]  # a shape without a size has no gradient
    x, masks = padded(clouds, "float64", POINTS)

    @jax.jit
    def run(x, masks, directions):
        found = {}
        for name, detach in (("through", False), ("detached", True)):
            energy = energy_of(functools.partial(sf.robust_frame, detach=detach))
            slope = jax.vmap(jax.grad(energy))(x, masks)
            steps = [
                (
                    jax.vmap(energy)(x + h * directions, masks)
                    - jax.vmap(energy)(x - h * directions, masks)
                )
                / (2 * h)
                for h in (1e-5, 1e-6)
            ]
            found[name] = slope, steps
        return found

    worst = dict.fromkeys(("through", "detached"), 0)
    for _ in range(3):
        directions = jnp.where(masks[..., None], jax.random.normal(next(keys), x.shape, x.dtype), 0)
        for name, (slope, steps) in run(x, masks, directions).items():
            along = np.sum(slope * directions, axis=(1, 2))
            size = np.linalg.norm(slope, axis=(1, 2)) + 1e-3
            error = np.min([np.abs(step - along) / size for step in steps], axis=0)
            worst[name] = np.maximum(worst[name], error)
    # 1e-16 / 1e-6, and the square of the step times a third derivative of up to 1e4.
    assert np.all(worst["through"] < 1e-6), dict(zip(clouds, worst["through"], strict=True))
    row = list(clouds).index("ammonia")
    assert worst["detached"][row] > 1e-2


def test_second_derivative_is_that_of_the_gradient(keys):
    """On clouds that are not collinear, where there is one: ties, planes and generic ones."""
    clouds = {name: of_order_one()[name] for name in ("square", "methane", "water")}
    x, masks = padded(clouds, "float64", POINTS)
    slope = jax.grad(energy_of(sf.robust_frame))

    @jax.jit
    @jax.vmap
    def run(x, mask, direction):
        _, product = jax.jvp(lambda x: slope(x, mask), (x,), (direction,))
        back = jax.grad(lambda x: jnp.sum(slope(x, mask) * direction))(x)
        step = 1e-5
        central = (slope(x + step * direction, mask) - slope(x - step * direction, mask)) / (
            2 * step
        )
        return product, back, central

    directions = jnp.where(masks[..., None], jax.random.normal(next(keys), x.shape, x.dtype), 0)
    product, back, central = run(x, masks, directions)
    size = np.max(np.abs(product), axis=(1, 2), keepdims=True)
    np.testing.assert_array_less(np.abs(product - back) / size, 1e-10)
    np.testing.assert_array_less(np.abs(product - central) / size, 1e-5)
    assert size.min() > 1e-2


@pytest.mark.parametrize("dtype", ["bfloat16", "float32", "float64"])
def test_no_nan_on_any_cloud(keys, dtype):
    clouds = hard_clouds() | {"no points": np.zeros((0, 3)), "huge": np.full((2, 3), 1e38)}
    clouds["far"] = np.eye(3) * 1e-30 + 1.0
    x, masks = padded(clouds, dtype, 12)
    weight = jnp.asarray(np.random.default_rng(1).normal(size=(1, 3, 3)), dtype)
    # Beyond the range of float32: they are clipped to it.
    marks = 1e300 * jnp.arange(12, dtype="float64")

    @jax.jit
    @jax.vmap
    def run(x, mask, direction):
        found = {}
        for closure in ("signs", "octahedral"):

            def total(x, closure=closure):
                frame = sf.robust_frame(x, mask, closure=closure, attributes=marks)
                turned = jnp.sum(frame.elements.linear * weight, axis=(1, 2))
                return jnp.sum(frame.weights * jnp.sin(turned)), frame

            slope = jax.grad(total, has_aux=True)
            if dtype == "float64":
                found[closure] = jax.jvp(slope, (x,), (direction,), has_aux=False)
            else:
                found[closure] = total(x), slope(x)
        return found

    # A unit of the cloud's own: the second derivative is its inverse square.
    units = jnp.maximum(jnp.max(jnp.abs(x), axis=(1, 2), keepdims=True), jnp.asarray(1e-30, dtype))
    directions = jax.random.normal(next(keys), x.shape, dtype) * units
    for path, leaf in jax.tree_util.tree_leaves_with_path(run(x, masks, directions)):
        for row, name in enumerate(clouds):
            finite = np.all(np.isfinite(np.asarray(leaf[row], "float64")))
            assert finite, (name, jax.tree_util.keystr(path))
            if path[-1] == jax.tree_util.GetAttrKey("weights") and path[1].idx == 0:
                total = np.sum(np.asarray(leaf[row], "float64"))
                assert total == pytest.approx(1, abs=4 * float(jnp.finfo(dtype).eps)), name


def test_padding_changes_no_bit(keys):
    x = generic_cloud(next(keys), 5, 3)
    mask = jnp.arange(8) < 5

    @jax.jit
    def run(x, mask, attributes):
        fn = functools.partial(sf.robust_frame, mask=mask, attributes=attributes, threshold=0.3)
        slope = jax.grad(lambda x: jnp.sum(fn(x).weights * jnp.sin(fn(x).elements.linear[:, 0, 1])))
        return fn(x), slope(x)

    fills = [jnp.zeros((3, 3)), jnp.full((3, 3), jnp.nan), jax.random.normal(next(keys), (3, 3))]
    numbers = jax.random.normal(next(keys), (5,), x.dtype)
    results = [
        run(jnp.concatenate([x, fill]), mask, jnp.concatenate([numbers, fill[0]])) for fill in fills
    ]
    for other in results[1:]:
        jax.tree.map(np.testing.assert_array_equal, results[0], other)
    bare = sf.robust_frame(x, attributes=numbers, threshold=0.3)
    np.testing.assert_allclose(as_weighted_set(*results[0][0]), as_weighted_set(*bare), atol=1e-13)


def test_mirror_images_are_told_apart_by_proper_groups_only(keys):
    x = generic_cloud(next(keys), 6, 3)
    mirrored = x * jnp.array([[1.0, 1.0, -1.0]])
    for group, limit in (("E", False), ("SE", True)):
        energy = jax.jit(energy_of(functools.partial(sf.robust_frame, group=group)))
        values = [energy(cloud, jnp.ones(6, bool)) for cloud in (x, mirrored)]
        assert (abs(values[0] - values[1]) > 1e-3) == limit
        assert abs(values[0] - values[1]) > 1e-3 or abs(values[0] - values[1]) < 1e-13


def test_average_in_the_plane_is_exact(keys):
    """Regular polygons, segments, points: the same guarantees for O(2), SO(2), E(2), SE(2)."""
    clouds = {f"{count}-gon": ring(count, 2) for count in (3, 4, 5, 6, 8)}
    clouds["segment"] = np.array([[0.0, 0.0], [1.0, 2.0]])
    clouds["uneven segment"] = np.array([[0.0, 0.0], [1.0, 2.0], [3.0, 6.0]])
    clouds |= {"point": np.array([[0.3, -0.2]]), "points": np.full((3, 2), 0.3)}
    clouds["rectangle"] = np.array([[2.0, 1], [-2, 1], [2, -1], [-2, -1]])
    x, masks = padded(clouds, "float64", POINTS)
    frames = {
        name: functools.partial(sf.robust_frame, group=name, closure="octahedral")
        for name in ("O", "SO", "E", "SE")
    }
    frames["PCA"] = functools.partial(sf.pca_frame, group="O")
    groups = dict(zip(frames, (sf.orthogonal, sf.special_orthogonal), strict=False))
    groups |= {"E": sf.euclidean, "SE": sf.special_euclidean, "PCA": sf.orthogonal}

    @jax.jit
    def run(x, masks, keys):
        worst = {}
        for name, frame in frames.items():
            law = functools.partial(changes, averaged(frame, 2), groups[name](2))
            worst[name] = jax.vmap(law)(x, masks, keys)
        return worst

    found = jax.tree.map(np.asarray, run(x, masks, jax.random.split(next(keys), len(x))))
    bound = jnp.finfo(float).eps * np.array([200, 200, 200, 5000])
    polygons = [row for row, name in enumerate(clouds) if name.endswith("gon")]
    for name, errors in found.items():
        if name == "PCA":
            assert np.max(errors[polygons]) > 1e-2
        else:
            assert np.all(errors < bound), (name, np.max(errors, axis=1))


def test_attributes_tell_points_apart(keys):
    """Of a cube with one marked corner only that is the first axis; and the average stays exact."""
    cube, _ = padded({"cube": hard_clouds()["cube"]}, "float64", POINTS)
    cube, mask = cube[0], jnp.arange(POINTS) < 8
    charges = jnp.where(jnp.arange(POINTS) == 0, 6, 1)
    fewer = functools.partial(sf.robust_frame, attributes=charges)
    count = lambda frame: int(sf.frame_diagnostics(frame, cube, mask).num_elements)
    assert count(sf.robust_frame) == 96
    # The second axis is one of the six others.
    assert count(fewer) == 12
    g = sf.euclidean(3).draw(next(keys), cube.dtype)
    run = jax.jit(energy_of(fewer))
    np.testing.assert_allclose(run(sf.points.push(g, cube), mask), run(cube, mask), atol=1e-13)
    order = jnp.roll(jnp.arange(POINTS), 2)
    permuted = energy_of(functools.partial(sf.robust_frame, attributes=charges[order]))
    np.testing.assert_allclose(permuted(cube[order], mask[order]), run(cube, mask), atol=1e-13)


def test_samples_are_elements_of_nonzero_weight(keys):
    """Of the 96 elements that a frame holds by default, a generic cloud needs a few."""
    x = generic_cloud(next(keys), 6, 3)
    frame = sf.robust_frame(x)
    corner = lambda x: x[0, 0] + 2 * x[1, 1] + 3 * x[2, 2]
    values = jax.vmap(lambda g: corner(sf.points.pull(g, x)))(frame.elements)
    used = np.asarray(values)[frame.weights > 0]
    assert 2 <= len(used) <= 8
    sampled = sf.sampled_average(corner, sf.robust_frame, in_actions=sf.points, out_actions=None)
    drawn = jax.vmap(lambda key: sampled(key, x))(jax.random.split(next(keys), 400))
    distances = np.abs(np.asarray(drawn)[:, None] - used)
    assert np.max(np.min(distances, axis=1)) < 1e-14
    shares = np.mean(distances < 1e-14, axis=0)
    # Three standard deviations of a share of one half.
    np.testing.assert_allclose(shares, frame.weights[frame.weights > 0], atol=0.08)


def test_one_trace_a_shape_and_batches_are_loops(keys):
    traces = []

    def counted(x):
        traces.append(x.shape)
        return sf.robust_frame(x)

    run = jax.jit(counted)
    clouds = jax.random.normal(next(keys), (4, 5, 3))
    singles = [run(cloud) for cloud in clouds]
    assert len(traces) == 1
    batched = jax.vmap(sf.robust_frame)(clouds)
    for row, single in enumerate(singles):
        jax.tree.map(
            lambda all_of, one, row=row: np.testing.assert_allclose(all_of[row], one, atol=1e-14),
            batched,
            single,
        )
        jax.tree.map(np.testing.assert_allclose, sf.robust_frame(clouds[row]), single)


CLOUD = jnp.eye(3)
MISTAKES = {
    "points must be one cloud": lambda: sf.robust_frame(CLOUD[None]),
    "points must be in 2 or 3 dimensions": lambda: sf.robust_frame(jnp.eye(4)),
    "mask must be boolean": lambda: sf.robust_frame(CLOUD, jnp.ones(3)),
    "group must be one of O, SO, E, SE": lambda: sf.robust_frame(CLOUD, group="T"),
    "closure must be one of signs, octahedral": lambda: sf.robust_frame(CLOUD, closure="none"),
    "threshold must be a number above 0": lambda: sf.robust_frame(CLOUD, threshold=1.0),
    r"capacity must be 2 integer\(s\)": lambda: sf.robust_frame(CLOUD, capacity=(3,)),
    r"capacity\[1\] must be a positive integer": lambda: sf.robust_frame(CLOUD, capacity=(3, 0)),
    "max_elements must be a positive integer": lambda: sf.robust_frame(CLOUD, max_elements=0),
    r"attributes must be real numbers of shape \(3,\)": lambda: sf.robust_frame(
        CLOUD, attributes=jnp.ones(4)
    ),
}


@pytest.mark.usefixtures("unhooked")
@pytest.mark.parametrize("message", MISTAKES)
def test_mistakes_are_named(message):
    with pytest.raises(ValueError, match=message):
        MISTAKES[message]()
