import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import symjax_frames as sf
from symjax_frames.testing import equivariance_error, generic_cloud, hard_clouds
from tests.helpers.clouds import padded

GROUPS = ["T", "O", "SO", "E", "SE"]


def as_set(linear, shift):
    """Elements in an order of their own, so that frames compare as sets."""
    flat = np.concatenate([np.asarray(linear).reshape(len(linear), -1), np.asarray(shift)], axis=1)
    return flat[np.lexsort(np.round(flat, 4).T)]


@pytest.mark.parametrize("dim", [1, 2, 3, 4])
def test_frame_moves_with_its_input(keys, dim):
    x = generic_cloud(next(keys), 6, dim, gap=0.2)
    draws = {
        "T": sf.translation,
        "O": sf.orthogonal,
        "SO": sf.special_orthogonal,
        "E": sf.euclidean,
        "SE": sf.special_euclidean,
    }

    @jax.jit
    def frames(x, key, order):
        found = {}
        for name in GROUPS:
            g = draws[name](dim).draw(key, x.dtype)
            frame = sf.pca_frame(x, group=name)
            stacked = jax.tree.map(lambda leaf: leaf[None], g)
            moved = sf.pca_frame(sf.points.push(g, x)[order], group=name)
            found[name] = (frame, moved, stacked.compose(frame.elements))
        return found

    order = jax.random.permutation(next(keys), 6)
    for name, (frame, moved, expected) in frames(x, next(keys), order).items():
        count = {"T": 1, "O": 2**dim, "E": 2**dim}.get(name, 2 ** (dim - 1))
        assert frame.weights.shape == (count,)
        np.testing.assert_allclose(np.sum(frame.weights), 1, atol=1e-15)
        np.testing.assert_allclose(
            as_set(*moved.elements), as_set(*expected), atol=1e-12, err_msg=name
        )
        determinants = np.linalg.det(moved.elements.linear)
        if name in ("T", "SO", "SE"):
            np.testing.assert_allclose(determinants, 1, atol=1e-13)
        else:
            assert {-1, 1} == set(np.round(determinants))
        if name in ("O", "SO"):
            assert not np.any(frame.elements.shift)


def test_frame_is_no_frame_at_a_repeated_eigenvalue(keys):
    cube = jnp.asarray(hard_clouds()["cube"])
    g = sf.orthogonal(3).draw(next(keys), cube.dtype)
    moved = sf.pca_frame(sf.points.push(g, cube))
    stacked = jax.tree.map(lambda leaf: leaf[None], g)
    expected = stacked.compose(sf.pca_frame(cube).elements)
    assert not np.allclose(as_set(*moved.elements), as_set(*expected), atol=1e-2)
    assert sf.spectral_gap(cube) < 1e-12


def test_mean_subtraction_is_the_frame_of_translations(keys):
    """The average over T(1) is: subtract the mean, apply, add it back."""
    signal = jax.random.normal(next(keys), (7,), jnp.float64)
    fn = lambda x: jnp.cumsum(jnp.sin(x + 0.3), axis=0)
    shifted = sf.frame_average(
        fn,
        functools.partial(sf.pca_frame, group="T"),
        in_actions=sf.points,
        out_actions=sf.points,
    )
    mean = jnp.mean(signal)
    expected = fn(signal - mean) + mean
    np.testing.assert_allclose(shifted(signal[:, None])[:, 0], expected, atol=1e-14)
    np.testing.assert_allclose(
        shifted(signal[:, None] + 5), shifted(signal[:, None]) + 5, atol=1e-13
    )
    assert not np.allclose(fn(signal + 5), fn(signal) + 5, atol=1e-2)


def test_padding_changes_no_bit(keys):
    x = generic_cloud(next(keys), 6, 3)
    mask = jnp.arange(9) < 6

    @jax.jit
    def run(x, mask):
        energy = lambda x: jnp.sum(
            sf.pca_frame(x, mask).elements.linear[3] * jnp.arange(9.0).reshape(3, 3)
        )
        return sf.pca_frame(x, mask), sf.spectral_gap(x, mask), jax.grad(energy)(x)

    fills = [jnp.zeros((3, 3)), jnp.full((3, 3), 1e30), jax.random.normal(next(keys), (3, 3))]
    results = [run(jnp.concatenate([x, fill]), mask) for fill in fills]
    for other in results[1:]:
        jax.tree.map(np.testing.assert_array_equal, results[0], other)
    assert not np.any(results[0][2][6:])
    bare = sf.pca_frame(x)
    np.testing.assert_allclose(as_set(*results[0][0].elements), as_set(*bare.elements), atol=1e-13)
    unmasked = sf.pca_frame(jnp.concatenate([x, fills[2]]))
    assert not np.allclose(unmasked.elements.shift, bare.elements.shift, atol=1e-3)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_no_nan_on_any_cloud(dtype):
    clouds = hard_clouds()
    x, masks = padded(clouds, dtype, max(map(len, clouds.values())))
    weight = jnp.asarray(np.random.default_rng(1).normal(size=(3, 3)), dtype)

    def energy(x, mask, name):
        fn = lambda x, mask: jnp.sum(jnp.where(mask[:, None], jnp.sin(x @ weight + 1), 0))
        frame = functools.partial(sf.pca_frame, group=name)
        arguments = {"in_actions": (sf.points, None), "frame_argnums": (0, 1)}
        return sf.frame_average(fn, frame, out_actions=None, **arguments)(x, mask)

    @jax.jit
    @jax.vmap
    def run(x, mask):
        values = {}
        for name in ("SO", "E"):
            slope = jax.grad(energy)(x, mask, name)
            values[name] = sf.pca_frame(x, mask, group=name), energy(x, mask, name), slope
        return values, sf.spectral_gap(x, mask)

    # The control: the same frame by jnp.linalg.eigh has no derivative on the symmetric ones.
    plain = lambda x: jnp.sum(jnp.linalg.eigh((x - x.mean(0)).T @ (x - x.mean(0)))[1] ** 3)
    with jax.numpy_rank_promotion("allow"):
        assert not np.all(np.isfinite(jax.grad(plain)(jnp.asarray(clouds["octahedron"], dtype))))
    for path, leaf in jax.tree_util.tree_leaves_with_path(run(x, masks)):
        for row, name in enumerate(clouds):
            assert np.all(np.isfinite(leaf[row])), (name, jax.tree_util.keystr(path))


@pytest.mark.parametrize("scale", [1e-20, 1e20, 1e38])
def test_axes_do_not_depend_on_the_unit_of_length(keys, scale):
    x = generic_cloud(next(keys), 6, 3, dtype="float32")
    small, large = sf.pca_frame(x), sf.pca_frame(x * jnp.float32(scale))
    axes = [as_set(frame.elements.linear, jnp.zeros((8, 3))) for frame in (small, large)]
    np.testing.assert_allclose(axes[0], axes[1], atol=1e-5)
    np.testing.assert_allclose(sf.spectral_gap(x * jnp.float32(scale)), 0.2, atol=1e-5)


@pytest.mark.parametrize("dim", [2, 3, 5])
def test_spectral_gap_is_the_stated_one(keys, dim):
    x = generic_cloud(next(keys), 8, dim, gap=0.15)
    np.testing.assert_allclose(sf.spectral_gap(x), 0.15, rtol=1e-10)
    assert sf.spectral_gap(x, group="T") == 1
    assert sf.spectral_gap(x[:, :1]) == 1


def test_gradient_through_the_frame_is_the_finite_difference(keys):
    x = generic_cloud(next(keys), 6, 3)
    weight = jax.random.normal(next(keys), (1, 3, 3), jnp.float64)

    def total(x, detach=False):
        # Summed over the elements, so that it does not matter which is called the first.
        return jnp.sum(jnp.exp(sf.pca_frame(x, detach=detach).elements.linear * weight))

    fn = jax.jit(total)
    direction = jax.random.normal(next(keys), x.shape, jnp.float64)
    step = 1e-6
    central = (fn(x + step * direction) - fn(x - step * direction)) / (2 * step)
    slope = jnp.sum(jax.grad(fn)(x) * direction)
    np.testing.assert_allclose(slope, central, rtol=1e-6)
    assert not np.any(jax.grad(lambda x: total(x, detach=True))(x))
    assert abs(slope) > 1e-2


def test_closure_by_a_group_holds_every_product_once(keys):
    x = generic_cloud(next(keys), 6, 3)
    base = np.asarray(sf.pca_frame(x, group="E").elements.linear)
    group = sf.icosahedral(inversion=True)
    closed = sf.close(sf.pca_frame, group, already=sf.signs(3))(x)
    assert closed.weights.shape == (120,)
    np.testing.assert_allclose(np.sum(closed.weights), 1, atol=1e-14)
    expected = base[0] @ group.elements.linear
    np.testing.assert_allclose(
        as_set(closed.elements.linear, closed.elements.shift),
        as_set(expected, np.tile(closed.elements.shift[0], (120, 1))),
        atol=1e-12,
    )
    whole = sf.close(sf.pca_frame, group)(x)
    assert whole.weights.shape == (960,)
    np.testing.assert_allclose(
        as_set(whole.elements.linear, whole.elements.shift)[::8],
        as_set(closed.elements.linear, closed.elements.shift),
        atol=1e-12,
    )


def test_closure_of_a_frame_is_a_frame(keys):
    x = generic_cloud(next(keys), 6, 3)
    fn = lambda x: jnp.sum(jnp.sin(x @ jnp.arange(9.0).reshape(3, 3) + 0.4))
    group = sf.signed_permutations(3)
    closed = sf.close(sf.pca_frame, group, already=sf.signs(3))

    def wrong_side(x):
        base = sf.pca_frame(x)
        turned = group.cast(x.dtype).linear[:, None] @ base.elements.linear[None]
        elements = sf.Isometry(turned.reshape(-1, 3, 3), jnp.tile(base.elements.shift, (48, 1)))
        return sf.Frame(elements, jnp.full(384, 1 / 384))

    law = {"in_actions": sf.points, "out_actions": None}
    right, wrong = (
        jax.jit(
            lambda x, key, frame=frame: equivariance_error(
                sf.frame_average(fn, frame, **law), x, group=sf.euclidean(3), key=key, **law
            )
        )(x, next(keys))
        for frame in (closed, wrong_side)
    )
    assert right < 1e-12
    assert wrong > 1e-3


def test_impossible_closures_are_refused(keys):
    with pytest.raises(ValueError, match="group must be a finite Group"):
        sf.close(sf.pca_frame, sf.orthogonal(3))
    with pytest.raises(ValueError, match="already must be a subgroup"):
        sf.close(sf.pca_frame, sf.tetrahedral(), already=sf.signs(3))
    with pytest.raises(ValueError, match="acts in 2 dimensions, the frame has 3"):
        sf.close(sf.pca_frame, sf.cyclic(4))(generic_cloud(next(keys), 6, 3))


def test_packed_equals_each_graph_alone(keys):
    sizes = [5, 3, 7]
    clouds = [generic_cloud(next(keys), n + 1, 3)[:n] for n in sizes]
    padding = jax.random.normal(next(keys), (2, 3))
    nodes = jnp.concatenate([*clouds, padding])
    segment_ids = jnp.repeat(jnp.arange(4), jnp.array([*sizes, 2]))
    charge = jax.random.normal(next(keys), (len(nodes),))
    weight = jax.random.normal(next(keys), (3, 3))

    def backbone(x, charge, segment_ids, graphs):
        h = jnp.sin(x @ weight + 0.5) * charge[:, None]
        pooled = jax.ops.segment_sum(h, segment_ids, graphs)
        return {"moved": x + jnp.tanh(h + pooled[segment_ids]), "energy": pooled[:, 0] ** 2}

    @functools.partial(jax.jit, static_argnums=3)
    def packed(x, charge, segment_ids, graphs):
        per_node = lambda action: sf.packed(action, segment_ids)
        return sf.frame_average(
            lambda x, charge: backbone(x, charge, segment_ids, graphs),
            lambda x: sf.packed_pca_frame(x, segment_ids, graphs),
            in_actions=(per_node(sf.points), None),
            out_actions={
                "moved": per_node(sf.points),
                "energy": sf.packed(None, jnp.arange(graphs)),
            },
        )(x, charge)

    together = packed(nodes, charge, segment_ids, 4)
    starts = list(itertools.accumulate([0, *sizes]))
    for graph, (start, stop) in enumerate(itertools.pairwise(starts)):
        one = sf.frame_average(
            lambda x, charge: backbone(x, charge, jnp.zeros(len(x), int), 1),
            sf.pca_frame,
            in_actions=(sf.points, None),
            out_actions={"moved": sf.points, "energy": None},
        )
        alone = jax.jit(one)(nodes[start:stop], charge[start:stop])
        np.testing.assert_allclose(together["moved"][start:stop], alone["moved"], atol=1e-12)
        np.testing.assert_allclose(together["energy"][graph], alone["energy"][0], atol=1e-12)
    # Gradients agree too, and what the padding holds changes no bit of the real graphs.
    slope = jax.grad(lambda x: jnp.sum(packed(x, charge, segment_ids, 4)["energy"][:3]))(nodes)
    assert not np.any(slope[-2:])
    alone = jax.grad(lambda x: one(x, charge[starts[2] : starts[3]])["energy"][0])
    np.testing.assert_allclose(
        slope[starts[2] : starts[3]], alone(nodes[starts[2] : starts[3]]), atol=1e-10
    )
    other = packed(nodes.at[-2:].set(1e10), charge, segment_ids, 4)
    np.testing.assert_array_equal(other["moved"][:-2], together["moved"][:-2])
    # One graph for all nodes is another function: the packing matters.
    merged = packed(nodes, charge, jnp.zeros_like(segment_ids), 4)
    assert not np.allclose(merged["moved"][:5], together["moved"][:5], atol=1e-3)


@pytest.mark.parametrize("group", ["T", "O", "SO", "SE"])
def test_packed_groups_and_closures_equal_each_graph_alone(keys, group):
    x = jax.random.normal(next(keys), (10, 3))
    flips = sf.signed_permutations(3, proper=group in ("SO", "SE"))

    @jax.jit
    def frames(x):
        segment_ids = jnp.repeat(jnp.arange(2), 5)
        together = sf.close(sf.packed_pca_frame(x, segment_ids, 2, group=group), flips)
        return together, [
            sf.close(sf.pca_frame(x[5 * g : 5 * g + 5], group=group), flips) for g in (0, 1)
        ]

    together, alone = frames(x)
    np.testing.assert_allclose(jnp.sum(together.weights, axis=0), 1, atol=1e-13)
    for graph, frame in enumerate(alone):
        elements = jax.tree.map(lambda leaf, g=graph: leaf[:, g], together.elements)
        np.testing.assert_allclose(as_set(*elements), as_set(*frame.elements), atol=1e-12)


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


def test_empty_graphs_and_masked_nodes_are_harmless(keys):
    x = jax.random.normal(next(keys), (6, 3))
    frame = sf.packed_pca_frame(x, jnp.array([0, 0, 0, 0, 2, 2]), 4, jnp.arange(6) < 4)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(frame))
    alone = sf.pca_frame(x[:4])
    packed = as_set(frame.elements.linear[:, 0], frame.elements.shift[:, 0])
    np.testing.assert_allclose(packed, as_set(*alone.elements), atol=1e-12)
