import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import symjax_frames as sf
from symjax_frames.frames import _canonical, canonical_margin
from symjax_frames.testing import hard_clouds
from tests.helpers.clouds import draw_cloud, draw_motions, padded

ACTIONS = {"in_actions": (sf.points, None), "frame_argnums": (0, 1)}
OUTPUTS = {"moved": sf.points, "force": sf.vectors, "energy": None}


def backbone(weight):
    """Generic: an odd or an even map would hide reflections."""

    def fn(x, mask):
        real = mask[:, None]
        h = jnp.where(real, jnp.sin(x @ weight + 0.5), 0)
        pooled = jnp.sum(h, axis=0)
        return {
            "moved": jnp.where(real, x + jnp.tanh(h + pooled[None]), 0),
            "force": jnp.exp(0.3 * pooled),
            "energy": jnp.sum(h * h) + jnp.prod(pooled),
        }

    return fn


def averaged(fn, frame, **options):
    frame = functools.partial(frame, **options)
    return sf.frame_average(fn, frame, out_actions=OUTPUTS, **ACTIONS)


def first_signs(x, mask, **options):
    """The control: one element, with the signs that the eigenvectors happen to have."""
    frame = sf.pca_frame(x, mask, **options)
    return jax.tree.map(lambda leaf: leaf[:1], frame)._replace(weights=jnp.ones(1, x.dtype))


def skewed_cloud(dim=3, dtype="float64"):
    """A cloud of which gap and third moments are known, and decide the signs for every group."""
    draws = np.random.default_rng(0)
    while True:
        columns, _ = np.linalg.qr(np.column_stack([np.ones(6), draws.gamma(0.3, size=(6, dim))]))
        moments = np.sort(np.abs(np.sum(columns[:, 1:] ** 3, axis=0)))
        if moments[0] > 0.1 and moments[1] - moments[0] > 0.1:
            break
    axes, _ = np.linalg.qr(draws.normal(size=(dim, dim)))
    spread = np.sqrt(1 - 0.2 * np.arange(dim))
    cloud = columns[:, 1:] * spread @ axes.T + draws.normal(size=dim)
    return jnp.asarray(cloud, dtype), moments


def orbit(x, motions):
    """A cloud and its images under motions, their points in the opposite order."""
    return np.stack([x, *motions.move(x)[:, ::-1]]).astype(x.dtype)


def changes(outputs, motions):
    """How much each output of the images differs, once moved back, from that of the cloud."""
    back = jax.tree.map(lambda leaf: leaf[1:], outputs)
    shifted = back["moved"][:, ::-1] - motions.shift[:, None]
    back["moved"] = shifted @ motions.linear
    back["force"] = np.einsum("nij,ni->nj", motions.linear, back["force"])
    return jax.tree.map(lambda a, b: np.max(np.abs(a - b[:1]), axis=0), back, outputs)


@pytest.mark.parametrize(
    ("dim", "dtype"),
    [(2, "float64"), pytest.param(3, "float32", marks=pytest.mark.fast)],
)
def test_average_is_equivariant(dim, dtype):
    x = np.asarray(skewed_cloud(dim, dtype)[0])
    fn = backbone(jnp.asarray(np.random.default_rng(1).normal(size=(dim, dim)), dtype))
    motions = {group: draw_motions(group, dim, 4) for group in ("E", "SE")}
    frames = {
        "hard E": (sf.canonical_frame, {}),
        "hard SE": (sf.canonical_frame, {"group": "SE"}),
        "smooth E": (sf.canonical_frame, {"sharpness": 10.0}),
        "smooth SE": (sf.canonical_frame, {"group": "SE", "sharpness": 10.0}),
        "first SE": (first_signs, {"group": "SE"}),
    }
    averages = {name: averaged(fn, frame, **options) for name, (frame, options) in frames.items()}
    averages["bare SE"] = fn

    @jax.jit
    @jax.vmap
    def run(x):
        return {name: average(x, jnp.ones(len(x), bool)) for name, average in averages.items()}

    found = jax.device_get(run(np.concatenate([orbit(x, drawn) for drawn in motions.values()])))
    # The shifts are a few times the cloud, a gap of 0.2 and a sharpness of 10 cost a digit each.
    bound = 3e3 * float(jnp.finfo(dtype).eps)
    for name, outputs in found.items():
        group = name.split()[1]
        half = slice(0, 5) if group == "E" else slice(5, 10)
        moved = changes(jax.tree.map(lambda leaf, half=half: leaf[half], outputs), motions[group])
        for output, change in moved.items():
            if name.startswith(("bare", "first")):
                assert np.max(change) > 1e-2, (name, output)
            else:
                assert np.max(change) < bound, (name, output)


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_hard_form_is_one_element_of_pca_and_smooth_form_all(dim):
    x = draw_cloud(0, 6, 1) if dim == 1 else skewed_cloud(dim)[0]

    @jax.jit
    def frames(x):
        forms = [functools.partial(sf.canonical_frame, sharpness=b) for b in (None, 2.0, 1e4)]
        return {
            group: [form(x, group=group) for form in (sf.pca_frame, *forms)]
            for group in ("T", "O", "SE")
        }

    for group, (full, one, smooth, sharp) in jax.device_get(frames(x)).items():
        assert one.weights.shape == (1,)
        assert one.elements.linear.shape == (1, dim, dim)
        chex.assert_trees_all_equal(smooth.elements, full.elements)
        np.testing.assert_allclose(np.sum(smooth.weights), 1, atol=1e-15)
        assert len(smooth.weights) == 1 or np.max(smooth.weights) < 0.95
        # As sharp as that, all weight is on the one element.
        sharpest = int(np.argmax(sharp.weights))
        np.testing.assert_allclose(sharp.weights[sharpest], 1, atol=1e-9, err_msg=group)
        np.testing.assert_array_equal(one.elements.linear[0], sharp.elements.linear[sharpest])


def test_signs_make_the_third_moments_positive():
    x, moments = skewed_cloud()

    @jax.jit
    def run(x):
        groups = ("E", "SE", "T")
        return sf.canonical_frame(x).elements, [canonical_margin(x, group=g) for g in groups]

    (linear, _), margins = jax.device_get(run(x))
    x = np.asarray(x)
    along = np.sort(np.sum(((x - x.mean(0, keepdims=True)) @ linear[0]) ** 3, axis=0))
    assert np.all(along > 0)
    _, mirrored = jax.device_get(run(x * np.array([1.0, 1.0, -1.0])))
    for values in (margins, mirrored):
        np.testing.assert_allclose(values[0], min(moments[0], 0.2), rtol=1e-9)
        assert values[2] == 1
    # A rotation has the best signs for one of two mirror images, and gives one up for the other.
    expected = [min(moments[1] + s * moments[0], 0.2) for s in (-1, 1)]
    np.testing.assert_allclose(sorted([margins[1], mirrored[1]]), expected, rtol=1e-9)


def test_smooth_form_is_the_pca_average_where_the_moments_vanish():
    # Symmetric under x -> -x and y -> -y together, and flat: all third moments are zero.
    half = np.array([[1.0, 0.3, 0.0], [-2.0, 1.4, 0.0], [3.0, 0.9, 0.0]])
    mirrored = np.array([[2.0, 0.1, 1.0], [1.0, -0.5, 0.4], [0.5, 0.6, -2.0]])
    flat = jnp.asarray(np.concatenate([half, -half]))
    mirror = jnp.asarray(np.concatenate([mirrored, mirrored * np.array([-1, 1, 1])]))

    @jax.jit
    def run(flat, mirror):
        groups = ("E", "SE")
        smooth = functools.partial(sf.canonical_frame, sharpness=50.0)
        margins = [canonical_margin(flat, group=group) for group in groups]
        return [smooth(flat, group=group).weights for group in groups], margins, smooth(mirror)

    all_weights, margins, frame = jax.device_get(run(flat, mirror))
    for weights in all_weights:
        np.testing.assert_allclose(weights, 1 / len(weights), atol=1e-9)
    assert np.max(np.asarray(margins)) < 1e-9
    # One moment vanishes: the two signs of that axis share the weight of the others.
    normal = int(np.argmax(np.abs(frame.elements.linear[0, 0])))
    flips = np.sign(frame.elements.linear[:, 0, normal])
    for sign in (-1, 1):
        np.testing.assert_allclose(np.sum(frame.weights[flips == sign]), 0.5, atol=1e-9)
    assert not np.allclose(frame.weights, 1 / 8, atol=1e-2)


def test_only_the_smooth_form_is_continuous_where_a_moment_changes_sign():
    """Along the path the axes stay, and the first coordinate turns into its negative."""
    draws, ones = np.random.default_rng(0), np.ones(8)
    columns, _ = map(jnp.asarray, np.linalg.qr(np.column_stack([ones, draws.normal(size=(8, 4))])))
    weight = jnp.asarray(draws.normal(size=(3, 3)))

    def cloud(t):
        turning = jnp.cos(t) * columns[:, 1] + jnp.sin(t) * columns[:, 2]
        return jnp.stack([turning, 0.9 * columns[:, 3], 0.8 * columns[:, 4]], axis=1)

    @jax.jit
    def run(t):
        def values(t):
            x = cloud(t)
            mask = jnp.ones(8, bool)
            energies = [
                averaged(backbone(weight), sf.canonical_frame, **options)(x, mask)["energy"]
                for options in ({}, {"sharpness": 20.0}, {"group": "SE", "sharpness": 20.0})
            ]
            return jnp.stack(energies), sf.spectral_gap(x), canonical_margin(x)

        return jax.vmap(values)(t)

    energies, gaps, margins = jax.device_get(run(np.linspace(0, np.pi, 801)))
    assert np.min(gaps) > 0.1
    assert np.min(margins) < 1e-2
    fine = np.max(np.abs(np.diff(energies, axis=0)), axis=0)
    coarse = np.max(np.abs(np.diff(energies[::2], axis=0)), axis=0)
    # Half the step, half the change, or a jump that stays.
    assert coarse[0] < 1.2 * fine[0]
    assert np.all(coarse[1:] > 1.7 * fine[1:])
    assert fine[0] > 3 * np.max(fine[1:])


def test_gradient_is_the_central_difference():
    x, _ = skewed_cloud()
    direction, weight = np.split(np.random.default_rng(1).normal(size=(9, 3)), [6])
    fn = backbone(jnp.asarray(weight))
    mask = jnp.ones(6, bool)

    def constant_weights(x, mask, **options):
        frame = sf.canonical_frame(x, mask, **options)
        return frame._replace(weights=jax.lax.stop_gradient(frame.weights))

    @jax.jit
    def run(x):
        cases = {
            "hard E": {"group": "E"},
            "smooth SE": {"group": "SE", "sharpness": 5.0},
            "constant weights": {"sharpness": 5.0, "frame": constant_weights},
        }
        found = {}
        for name, options in cases.items():
            average = averaged(fn, **({"frame": sf.canonical_frame} | options))
            energy = lambda x, average=average: average(x, mask)["energy"]
            found[name] = jax.value_and_grad(energy)(x)

        def total(x):
            leaves = jax.tree.leaves(sf.canonical_frame(x, sharpness=5.0, detach=True))
            return sum(jnp.sum(jnp.sin(leaf)) for leaf in leaves)

        return found, jax.grad(total)(x)

    step = 1e-6
    # Neither axes nor centroid nor weights of a detached frame have a derivative.
    middle, constant = jax.device_get(run(x))
    assert not np.any(constant)
    left, right = (jax.device_get(run(x + sign * step * direction)[0]) for sign in (-1, 1))
    for name, (_, gradient) in middle.items():
        slope = np.sum(gradient * direction)
        central = (right[name][0] - left[name][0]) / (2 * step)
        if name == "constant weights":
            assert abs(slope - central) > 1e-3 * abs(central), name
        else:
            # The difference has an error of the square of the step, and rounding over the step.
            np.testing.assert_allclose(slope, central, rtol=1e-7, err_msg=name)


def test_padding_changes_no_bit():
    x, mask = np.asarray(skewed_cloud()[0]), np.arange(9) < 6
    weight = np.arange(9.0).reshape(1, 3, 3)

    @jax.jit
    def run(x, mask):
        def total(x):
            frames = [sf.canonical_frame(x, mask, sharpness=b) for b in (None, 4.0)]
            terms = [f.weights[:, None, None] * jnp.sin(f.elements.linear * weight) for f in frames]
            return sum(map(jnp.sum, terms)), frames

        slope, frames = jax.grad(total, has_aux=True)(x)
        return frames, slope, canonical_margin(x, mask)

    noise = np.random.default_rng(1).normal(size=(3, 3))
    fills = [np.zeros((3, 3)), np.full((3, 3), 1e30), noise]
    results = [run(np.concatenate([x, fill]), mask) for fill in fills]
    for other in results[1:]:
        chex.assert_trees_all_equal(results[0], other)
    (hard, smooth), slope, _ = results[0]
    assert not np.any(slope[6:])
    bare = jax.jit(lambda x: [sf.canonical_frame(x, sharpness=b) for b in (None, 4.0)])(x)
    unmasked, *_ = run(np.concatenate([x, noise]), np.ones(9, bool))
    chex.assert_trees_all_close(hard, bare[0], atol=1e-12, rtol=1e-7)
    np.testing.assert_allclose(np.sort(smooth.weights), np.sort(bare[1].weights), atol=1e-12)
    assert not np.allclose(unmasked[0].elements.linear, bare[0].elements.linear, atol=1e-3)
    assert not np.allclose(np.sort(unmasked[1].weights), np.sort(bare[1].weights), atol=1e-3)


def test_no_nan_on_any_cloud():
    """In the dtype in which powers of lengths overflow and vanish first."""
    dtype = "float32"
    clouds = hard_clouds() | {"origin": np.zeros((1, 3)), "large and equal": np.full((4, 3), 1e30)}
    largest = max(map(len, clouds.values()))
    # A row without points, too.
    x, masks = padded(clouds | {"no points": np.zeros((0, 3))}, dtype, largest)
    fn = backbone(jnp.asarray(np.random.default_rng(1).normal(size=(3, 3)), dtype))
    cases = [{"group": "E", "sharpness": 10.0}, {"group": "SE"}]
    averages = [averaged(fn, sf.canonical_frame, **options) for options in cases]

    @jax.jit
    @jax.vmap
    def run(x, mask):
        def total(x):
            energies = [average(x, mask)["energy"] for average in averages]
            # A NaN of one energy is a NaN of the sum.
            return sum(energies), energies

        margins = [canonical_margin(x, mask, group=group) for group in ("E", "SE")]
        return jax.value_and_grad(total, has_aux=True)(x), margins

    # The control: without care, the moments of a planar cloud are no numbers.
    flat = np.asarray(clouds["square"], dtype)
    plain = lambda x: jnp.sum(jnp.sum(x**3, axis=0) / jnp.sum(x**2, axis=0) ** 1.5)
    assert not np.all(np.isfinite(jax.jit(jax.grad(plain))(flat)))
    for path, leaf in jax.tree_util.tree_leaves_with_path(jax.device_get(run(x, masks))):
        for row, name in enumerate([*clouds, "no points"]):
            assert np.all(np.isfinite(leaf[row])), (name, jax.tree_util.keystr(path))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_margins_say_which_clouds_the_signs_are_valid_on(dtype):
    clouds = hard_clouds()
    turn = draw_motions("SO", 3, 1).linear[0].T
    turned = {name: cloud.astype(dtype) @ turn.astype(dtype) for name, cloud in clouds.items()}

    @jax.jit
    @jax.vmap
    def margins(x, mask):
        return [canonical_margin(x, mask, group=group) for group in ("E", "SE")]

    found = zip(*jax.device_get(margins(*padded(turned, dtype, 12))), strict=True)
    of = dict(zip(clouds, found, strict=True)).__getitem__

    # What counts as no width is hundreds of roundings: cubed, rounding is a millionth or less of it.
    for name in ("cube", "benzene", "octahedron", "square", "methane", "carbon dioxide", "water"):
        assert max(of(name)) < 1e-6, name
    # In the plane, a rotation needs two signs: the third axis is the one that gives way.
    in_plane, proper = of("pyridine")
    assert in_plane < 1e-6
    assert proper > 5e-3
    # Thousands of lengths from the origin, a digit in a thousand is rounding.
    assert min(of("offset 1e3")) > 1e-2
    assert max(of("all points equal")) == 0


def test_smooth_weights_fade_where_a_cloud_becomes_planar(monkeypatch):
    """The moment along the normal is a ratio, as large at a width of 1e-12 as at one of 1e-3."""
    rng = np.random.default_rng(1)
    flat = np.pad(rng.normal(size=(5, 2)), ((0, 0), (0, 1)))
    normal = rng.normal(size=(5, 3)) * [0, 0, 1]
    heights = np.array([0.0, 1e-12, 1e-8, 1e-5])

    def found():
        def fn(x):
            return jnp.sum(jnp.sin(x + 1) * np.arange(1.0, 4.0)[None]) + jnp.sum(x[0] * x[1] ** 2)

        frame = functools.partial(sf.canonical_frame, group="SE", sharpness=5.0)
        average = sf.frame_average(fn, frame, in_actions=sf.points, out_actions=None)
        run = jax.jit(jax.vmap(jax.value_and_grad(average)))
        return jax.device_get(run(flat + heights[:, None, None] * normal))

    values, gradients = found()
    # Of a smooth function: values change with the square of the height, gradients with the height.
    np.testing.assert_allclose(values, values[0], atol=1e-8)
    np.testing.assert_allclose(gradients, np.stack([gradients[0]] * 4), atol=1e-3)
    monkeypatch.setattr(_canonical, "_FLATNESS", 0.0)
    values, _ = found()
    assert abs(values[1] - values[0]) > 1e-2


def test_planar_clouds_leave_only_the_side_of_the_plane_open():
    dtype = "float64"
    flat = np.array([[0.0, 0, 0], [3, 0.3, 0], [1, 2, 0], [0.2, 1, 0], [2.2, 0.9, 0]], dtype)
    fn = backbone(jnp.asarray(np.random.default_rng(1).normal(size=(3, 3)), dtype))
    motions = {group: draw_motions(group, 3, 4) for group in ("E", "SE")}

    @jax.jit
    @jax.vmap
    def run(x):
        mask = jnp.ones(5, bool)
        return {name: averaged(fn, sf.canonical_frame, group=name)(x, mask) for name in motions}

    found = jax.device_get(run(np.concatenate([orbit(flat, drawn) for drawn in motions.values()])))
    moved = {
        name: changes(jax.tree.map(lambda leaf, at=at: leaf[at : at + 5], found[name]), drawn)
        for at, (name, drawn) in zip((0, 5), motions.items(), strict=True)
    }
    bound = 3e3 * float(jnp.finfo(dtype).eps)
    assert moved["E"]["energy"] < bound
    assert np.all(moved["E"]["force"][:2] < bound)
    assert moved["E"]["force"][2] > 1e-2
    for output, change in moved["SE"].items():
        assert np.max(change) < bound, output


def test_rotations_tell_mirror_images_apart(keys):
    x, _ = skewed_cloud()
    fn = backbone(jax.random.normal(next(keys), (3, 3)))
    mirror = x * jnp.array([[1.0, 1.0, -1.0]])
    mask = jnp.ones(6, bool)

    @jax.jit
    def energies(x):
        cases = [(group, b) for group in ("SE", "E") for b in (None, 10.0)]
        return jnp.stack(
            [
                averaged(fn, sf.canonical_frame, group=group, sharpness=b)(x, mask)["energy"]
                for group, b in cases
            ]
        )

    change = np.abs(energies(x) - energies(mirror))
    assert np.all(change[:2] > 1e-2)
    assert np.all(change[2:] < 1e-12)


@pytest.mark.parametrize("scale", [1e-20, 1e20])
def test_frame_does_not_depend_on_the_unit_of_length(scale):
    x, _ = skewed_cloud(dtype="float32")

    @jax.jit
    def frames(x):
        return [sf.canonical_frame(x, sharpness=b) for b in (None, 10.0, 1e300)]

    (one, many, _), (other, others, step) = frames(x), frames(x * jnp.float32(scale))
    np.testing.assert_allclose(one.elements.linear, other.elements.linear, atol=1e-5)
    np.testing.assert_allclose(np.sort(many.weights), np.sort(others.weights), atol=1e-5)
    # A sharpness beyond the largest float of the cloud's dtype is a step, and no NaN.
    np.testing.assert_array_equal(np.sort(step.weights), [0, 0, 0, 0, 0, 0, 0, 1])


def test_wrong_options_are_refused(unhooked):
    x = jnp.asarray(draw_cloud(0, 6, 3))
    for sharpness in (0.0, -1.0, float("nan"), float("inf"), True, "high"):
        with pytest.raises(ValueError, match="sharpness must be a positive finite number"):
            sf.canonical_frame(x, sharpness=sharpness)
    with pytest.raises(ValueError, match="group must be one of T, O, SO, E, SE, got 'SO3'"):
        sf.canonical_frame(x, group="SO3")
    with pytest.raises(ValueError, match="points must be one cloud"):
        sf.canonical_frame(x[None])
    with pytest.raises(ValueError, match="mask must be boolean"):
        sf.canonical_frame(x, jnp.ones(5, bool))
    with pytest.raises(ValueError, match="group must be one of"):
        canonical_margin(x, group="SO3")
