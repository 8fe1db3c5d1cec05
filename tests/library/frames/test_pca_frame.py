import functools
import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import symjax_frames as sf
from symjax_frames.testing import equivariance_error, hard_clouds
from tests.helpers.clouds import draw_cloud, draw_motions, padded

GROUPS = ["T", "O", "SO", "E", "SE"]


def as_set(linear, shift):
    """Elements in an order of their own, so that frames compare as sets."""
    flat = np.concatenate([np.asarray(linear).reshape(len(linear), -1), np.asarray(shift)], axis=1)
    return flat[np.lexsort(np.round(flat, 4).T)]


def move_elements(elements, linear, shift):
    """The products of a motion and the elements of a frame, in NumPy."""
    return linear @ elements.linear, elements.shift @ linear.T + shift


@pytest.mark.parametrize("dim", [1, 2, pytest.param(3, marks=pytest.mark.fast), 4])
def test_frame_moves_with_its_input(dim):
    x = draw_cloud(1, 6, dim)
    order = np.random.default_rng(0).permutation(6)
    motions = {name: draw_motions(name, dim, 2, seed=1) for name in GROUPS}
    clouds = [x, *(moved[order] for drawn in motions.values() for moved in drawn.move(x))]

    @jax.jit
    @jax.vmap
    def run(x):
        return {name: sf.pca_frame(x, group=name) for name in GROUPS}

    found = jax.device_get(run(np.stack(clouds)))
    for place, (name, drawn) in enumerate(motions.items()):
        count = {"T": 1, "O": 2**dim, "E": 2**dim}.get(name, 2 ** (dim - 1))
        frames = found[name]
        assert frames.weights.shape[1] == count
        np.testing.assert_allclose(np.sum(frames.weights, axis=1), 1, atol=1e-15)
        frame = jax.tree.map(lambda leaf: leaf[0], frames.elements)
        for row, motion in enumerate(zip(*drawn, strict=True)):
            moved = jax.tree.map(lambda leaf, at=1 + 2 * place + row: leaf[at], frames.elements)
            expected = move_elements(frame, *motion)
            np.testing.assert_allclose(as_set(*moved), as_set(*expected), atol=1e-12, err_msg=name)
        determinants = np.linalg.det(frames.elements.linear)
        if name in ("T", "SO", "SE"):
            np.testing.assert_allclose(determinants, 1, atol=1e-13)
        else:
            assert {-1, 1} == set(np.round(determinants).ravel())
        if name in ("O", "SO"):
            assert not np.any(frame.shift)


@pytest.mark.fast
def test_frame_is_no_frame_at_a_repeated_eigenvalue():
    cube = hard_clouds()["cube"]
    (linear,), (shift,) = motion = draw_motions("O", 3, 1)
    run = jax.jit(jax.vmap(lambda x: (sf.pca_frame(x).elements, sf.spectral_gap(x))))
    elements, gaps = jax.device_get(run(np.stack([cube, *motion.move(cube)])))
    here, moved = (jax.tree.map(lambda leaf, row=row: leaf[row], elements) for row in range(2))
    expected = move_elements(here, linear, shift)
    assert not np.allclose(as_set(*moved), as_set(*expected), atol=1e-2)
    assert gaps[0] < 1e-12


def test_mean_subtraction_is_the_frame_of_translations():
    """The average over T(1) is: subtract the mean, apply, add it back."""
    signal = np.random.default_rng(0).normal(size=7)
    fn = lambda x, library: library.cumsum(library.sin(x + 0.3), axis=0)
    shifted = jax.jit(
        sf.frame_average(
            lambda x: fn(x, jnp),
            functools.partial(sf.pca_frame, group="T"),
            in_actions=sf.points,
            out_actions=sf.points,
        )
    )
    mean = np.mean(signal)
    expected = fn(signal - mean, np) + mean
    average = shifted(signal[:, None])
    np.testing.assert_allclose(average[:, 0], expected, atol=1e-14)
    np.testing.assert_allclose(shifted(signal[:, None] + 5), average + 5, atol=1e-13)
    assert not np.allclose(fn(signal + 5, np), fn(signal, np) + 5, atol=1e-2)


@pytest.mark.fast
def test_padding_changes_no_bit():
    x, mask = draw_cloud(0, 6, 3), np.arange(9) < 6
    weight = np.arange(9.0).reshape(3, 3)

    @jax.jit
    def run(x, mask):
        def energy(x):
            frame = sf.pca_frame(x, mask)
            return jnp.sum(frame.elements.linear[3] * weight), frame

        slope, frame = jax.grad(energy, has_aux=True)(x)
        return frame, sf.spectral_gap(x, mask), slope

    noise = np.random.default_rng(0).normal(size=(3, 3))
    fills = [np.zeros((3, 3)), np.full((3, 3), 1e30), noise]
    results = [run(np.concatenate([x, fill]), mask) for fill in fills]
    for other in results[1:]:
        chex.assert_trees_all_equal(results[0], other)
    frame, _, slope = results[0]
    assert not np.any(slope[6:])
    bare = jax.jit(sf.pca_frame)(x)
    np.testing.assert_allclose(as_set(*frame.elements), as_set(*bare.elements), atol=1e-13)
    unmasked, *_ = run(np.concatenate([x, noise]), np.ones(9, bool))
    assert not np.allclose(unmasked.elements.shift, bare.elements.shift, atol=1e-3)


def test_no_nan_on_any_cloud():
    """In the dtype in which squares of lengths overflow and vanish first."""
    dtype = "float32"
    clouds = hard_clouds()
    x, masks = padded(clouds, dtype, max(map(len, clouds.values())))
    weight = jnp.asarray(np.random.default_rng(1).normal(size=(3, 3)), dtype)

    fn = lambda x, mask: jnp.sum(jnp.where(mask[:, None], jnp.sin(x @ weight + 1), 0))
    arguments = {"in_actions": (sf.points, None), "frame_argnums": (0, 1)}
    frames = {name: functools.partial(sf.pca_frame, group=name) for name in ("SO", "E")}
    energies = [sf.frame_average(fn, f, out_actions=None, **arguments) for f in frames.values()]

    @jax.jit
    @jax.vmap
    def run(x, mask):
        # A NaN of one energy is a NaN of the sum.
        slopes = jax.value_and_grad(lambda x: sum(energy(x, mask) for energy in energies))(x)
        return slopes, [frame(x, mask) for frame in frames.values()], sf.spectral_gap(x, mask)

    # The control: the same frame by jnp.linalg.eigh has no derivative on the symmetric ones.
    plain = lambda x: jnp.sum(jnp.linalg.eigh((x - x.mean(0)).T @ (x - x.mean(0)))[1] ** 3)
    with jax.numpy_rank_promotion("allow"):
        slope = jax.jit(jax.grad(plain))(np.asarray(clouds["octahedron"], dtype))
    assert not np.all(np.isfinite(slope))
    for path, leaf in jax.tree_util.tree_leaves_with_path(jax.device_get(run(x, masks))):
        for row, name in enumerate(clouds):
            assert np.all(np.isfinite(leaf[row])), (name, jax.tree_util.keystr(path))


def test_axes_do_not_depend_on_the_unit_of_length():
    x = draw_cloud(0, 6, 3).astype("float32")
    scales = [1, 1e-20, 1e20, 1e38]
    run = jax.jit(jax.vmap(lambda x: (sf.pca_frame(x).elements.linear, sf.spectral_gap(x))))
    axes, gaps = run(np.stack([x * np.float32(scale) for scale in scales]))
    first, *others = [as_set(linear, np.zeros((8, 3))) for linear in axes]
    for other in others:
        np.testing.assert_allclose(first, other, atol=1e-5)
    np.testing.assert_allclose(gaps, np.full(4, 0.2), atol=1e-5)


def test_sums_over_the_points_of_small_clouds_are_written_out():
    """Reductions of a few numbers and padded slices are slow loops on CPU."""

    def project(cloud):
        elements = sf.pca_frame(cloud).elements
        return jax.vmap(lambda element: sf.points.pull(element, cloud))(elements)

    def derivative(cloud, change):
        return jax.vjp(project, cloud)[1](change)

    def count(operation, function, num_points, *shapes):
        arrays = [jnp.ones((2, *shape, num_points, 3)) for shape in shapes]
        text = jax.jit(jax.vmap(function)).lower(*arrays).as_text()
        return text.count(f"stablehlo.{operation}")

    assert count("reduce(", project, 16, ()) == 0
    assert count("reduce(", project, 17, ()) > 0
    assert count("pad", derivative, 5, (), (8,)) == 0
    assert count("pad", jax.grad(lambda cloud: jnp.sum(project(cloud)[0, 0])), 5, ()) > 0


@pytest.mark.parametrize("dim", [2, 3, 5])
def test_spectral_gap_is_the_stated_one(dim):
    x = draw_cloud(0, 8, dim, gap=0.15)
    run = lambda x: (sf.spectral_gap(x), sf.spectral_gap(x, group="T"), sf.spectral_gap(x[:, :1]))
    gap, *trivial = jax.jit(run)(x)
    np.testing.assert_allclose(gap, 0.15, rtol=1e-10)
    assert trivial == [1, 1]


@pytest.mark.fast
def test_gradient_through_the_frame_is_the_finite_difference():
    x = draw_cloud(0, 6, 3)
    rng = np.random.default_rng(0)
    weight, direction = rng.normal(size=(1, 3, 3)), rng.normal(size=x.shape)

    def total(x, detach):
        # Summed over the elements, so that it does not matter which is called the first.
        return jnp.sum(jnp.exp(sf.pca_frame(x, detach=detach).elements.linear * weight))

    slopes = [jax.value_and_grad(functools.partial(total, detach=each)) for each in (False, True)]
    step = 1e-6
    batch = np.stack([x, x + step * direction, x - step * direction])
    (value, slope), (_, detached) = jax.jit(jax.vmap(lambda x: [fn(x) for fn in slopes]))(batch)
    along = np.sum(slope[0] * direction)
    np.testing.assert_allclose(along, (value[1] - value[2]) / (2 * step), rtol=1e-6)
    assert not np.any(detached)
    assert abs(along) > 1e-2


def test_closure_by_a_group_holds_every_product_once():
    group = sf.icosahedral(inversion=True)
    closures = sf.close(sf.pca_frame, group, already=sf.signs(3)), sf.close(sf.pca_frame, group)
    run = jax.jit(lambda x: [sf.pca_frame(x), *[fn(x) for fn in closures]])
    base, closed, whole = jax.device_get(run(draw_cloud(0, 6, 3)))
    assert closed.weights.shape == (120,)
    np.testing.assert_allclose(np.sum(closed.weights), 1, atol=1e-14)
    expected = base.elements.linear[0] @ np.asarray(group.elements.linear)
    np.testing.assert_allclose(
        as_set(*closed.elements),
        as_set(expected, np.tile(closed.elements.shift[0], (120, 1))),
        atol=1e-12,
    )
    assert whole.weights.shape == (960,)
    np.testing.assert_allclose(as_set(*whole.elements)[::8], as_set(*closed.elements), atol=1e-12)


def test_closure_of_a_frame_is_a_frame():
    x, motions = draw_cloud(0, 6, 3), draw_motions("E", 3, 8)
    fn = lambda x: jnp.sum(jnp.sin(x @ jnp.arange(9.0).reshape(3, 3) + 0.4))
    group = sf.signed_permutations(3)
    closed = sf.close(sf.pca_frame, group, already=sf.signs(3))

    def wrong_side(x):
        base = sf.pca_frame(x)
        turned = group.cast(x.dtype).linear[:, None] @ base.elements.linear[None]
        elements = sf.Isometry(turned.reshape(-1, 3, 3), jnp.tile(base.elements.shift, (48, 1)))
        return sf.Frame(elements, jnp.full(384, 1 / 384))

    law = {"in_actions": sf.points, "out_actions": None}
    averages = [sf.frame_average(fn, frame, **law) for frame in (closed, wrong_side)]
    run = jax.jit(jax.vmap(lambda x: [average(x) for average in averages]))
    right, wrong = run(np.stack([x, *motions.move(x)]))
    np.testing.assert_allclose(right[1:], np.full(8, right[0]), rtol=1e-12)
    assert np.max(np.abs(wrong[1:] / wrong[0] - 1)) > 1e-3


def test_impossible_closures_are_refused():
    with pytest.raises(ValueError, match="group must be a finite Group"):
        sf.close(sf.pca_frame, sf.orthogonal(3))
    with pytest.raises(ValueError, match="already must be a subgroup"):
        sf.close(sf.pca_frame, sf.tetrahedral(), already=sf.signs(3))
    with pytest.raises(ValueError, match="acts in 2 dimensions, the frame has 3"):
        jax.eval_shape(sf.close(sf.pca_frame, sf.cyclic(4)), draw_cloud(0, 6, 3))


@pytest.mark.fast
def test_packed_equals_each_graph_alone():
    sizes = [5, 3, 7]
    rng = np.random.default_rng(0)
    nodes = np.concatenate([draw_cloud(n, n + 1, 3)[:n] for n in sizes] + [rng.normal(size=(2, 3))])
    segment_ids = np.repeat(np.arange(4), [*sizes, 2])
    charge, weight = rng.normal(size=len(nodes)), jnp.asarray(rng.normal(size=(3, 3)))

    def backbone(x, charge, segment_ids, graphs):
        h = jnp.sin(x @ weight + 0.5) * charge[:, None]
        pooled = jax.ops.segment_sum(h, segment_ids, graphs)
        return {"moved": x + jnp.tanh(h + pooled[segment_ids]), "energy": pooled[:, 0] ** 2}

    @jax.jit
    def packed(x, charge, segment_ids):
        per_node = lambda action: sf.packed(action, segment_ids)
        average = sf.frame_average(
            lambda x, charge: backbone(x, charge, segment_ids, 4),
            lambda x: sf.packed_pca_frame(x, segment_ids, 4),
            in_actions=(per_node(sf.points), None),
            out_actions={
                "moved": per_node(sf.points),
                "energy": sf.packed(None, jnp.arange(4)),
            },
        )

        def energy(x):
            outputs = average(x, charge)
            return jnp.sum(outputs["energy"][:3]), outputs

        slope, outputs = jax.grad(energy, has_aux=True)(x)
        return outputs | {"slope": slope}

    @jax.jit
    @jax.vmap
    def alone(x, charge, mask):
        average = sf.frame_average(
            # A charge of zero leaves padding out of the sum.
            lambda x, charge: backbone(x, charge, jnp.zeros(len(x), int), 1),
            lambda x: sf.pca_frame(x, mask),
            in_actions=(sf.points, None),
            out_actions={"moved": sf.points, "energy": None},
        )

        def energy(x):
            outputs = average(x, charge)
            return outputs["energy"][0], outputs

        slope, outputs = jax.grad(energy, has_aux=True)(x)
        return outputs | {"slope": slope}

    together = jax.device_get(packed(nodes, charge, segment_ids))
    parts = [
        slice(stop - n, stop) for n, stop in zip(sizes, itertools.accumulate(sizes), strict=True)
    ]
    x, masks = padded({part.start: nodes[part] for part in parts}, float, 7)
    charges, _ = padded({part.start: charge[part, None] for part in parts}, float, 7)
    each = jax.device_get(alone(x, charges[..., 0], masks))
    for graph, (part, size) in enumerate(zip(parts, sizes, strict=True)):
        np.testing.assert_allclose(together["moved"][part], each["moved"][graph, :size], atol=1e-12)
        np.testing.assert_allclose(together["energy"][graph], each["energy"][graph, 0], atol=1e-12)
        np.testing.assert_allclose(together["slope"][part], each["slope"][graph, :size], atol=1e-10)
    # What the padding holds changes no bit of the real graphs.
    assert not np.any(together["slope"][-2:])
    other = packed(np.concatenate([nodes[:-2], np.full((2, 3), 1e10)]), charge, segment_ids)
    np.testing.assert_array_equal(other["moved"][:-2], together["moved"][:-2])
    # One graph for all nodes is another function: the packing matters.
    merged = packed(nodes, charge, np.zeros_like(segment_ids))
    assert not np.allclose(merged["moved"][:5], together["moved"][:5], atol=1e-3)


@pytest.mark.parametrize("group", ["T", "O", "SE"])
def test_packed_groups_and_closures_equal_each_graph_alone(keys, group):
    x = jax.random.normal(next(keys), (10, 3))
    flips = sf.signed_permutations(3, proper=group == "SE")

    @jax.jit
    def frames(x):
        segment_ids = jnp.repeat(jnp.arange(2), 5)
        together = sf.close(sf.packed_pca_frame(x, segment_ids, 2, group=group), flips)
        alone = jax.vmap(lambda x: sf.close(sf.pca_frame(x, group=group), flips))
        return together, alone(x.reshape(2, 5, 3))

    together, alone = jax.device_get(frames(x))
    np.testing.assert_allclose(np.sum(together.weights, axis=0), 1, atol=1e-13)
    for graph in (0, 1):
        packed = jax.tree.map(lambda leaf, at=graph: leaf[:, at], together.elements)
        single = jax.tree.map(lambda leaf, at=graph: leaf[at], alone.elements)
        np.testing.assert_allclose(as_set(*packed), as_set(*single), atol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_hard_clouds_without_repeated_eigenvalues_are_exact(keys, dtype):
    clouds = hard_clouds()
    valid = ["water", "pyridine", "carbon dioxide", "asymmetric line", "two points", "one point"]
    valid += ["all points equal", "duplicated points", "offset 1e3", "scale 1e-20", "scale 1e20"]
    weight = jax.random.normal(next(keys), (3, 4), dtype)

    @jax.jit
    def error(x, mask, key):
        # Of the size of the cloud, so that no scale is out of reach of the backbone.
        size = jnp.max(jnp.abs(jnp.where(mask[:, None], x, 0)))
        fn = lambda x, mask: jnp.sum(
            jnp.where(mask[:, None], jnp.exp(jnp.sin(x / size @ weight + 1)), 0)
        )
        law = {"in_actions": (sf.vectors, None), "out_actions": None}
        frame = functools.partial(sf.pca_frame, group="E")
        averaged = sf.frame_average(
            fn, frame, in_actions=(sf.points, None), out_actions=None, frame_argnums=(0, 1)
        )
        law |= {"group": sf.orthogonal(3), "key": key}
        return equivariance_error(averaged, x, mask, **law), equivariance_error(fn, x, mask, **law)

    for name in valid:
        padded = np.zeros((11, 3), dtype)
        padded[: len(clouds[name])] = clouds[name]
        symmetric, bare = error(jnp.asarray(padded), jnp.arange(11) < len(clouds[name]), next(keys))
        # An offset of 1e3 costs three digits, a gap of a percent two more.
        bound = {"offset 1e3": 3e4}.get(name, 3e2) * float(jnp.finfo(dtype).eps)
        assert float(symmetric) < bound, name
        assert bare > 1e-2, name


def test_empty_graphs_and_masked_nodes_are_harmless():
    x = np.random.default_rng(0).normal(size=(6, 3))

    @jax.jit
    def run(x):
        frame = sf.packed_pca_frame(x, jnp.array([0, 0, 0, 0, 2, 2]), 4, jnp.arange(6) < 4)
        return frame, sf.pca_frame(x[:4])

    frame, alone = jax.device_get(run(x))
    chex.assert_tree_all_finite(frame)
    packed = as_set(frame.elements.linear[:, 0], frame.elements.shift[:, 0])
    np.testing.assert_allclose(packed, as_set(*alone.elements), atol=1e-12)
