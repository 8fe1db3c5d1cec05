import pydoc

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import symjax_frames as sf
from tests.helpers.clouds import draw_motions

ACTIONS = {
    "points": (sf.points, 1),
    "vectors": (sf.vectors, 1),
    "pseudovectors": (sf.pseudovectors, 1),
    "scalars": (sf.tensors(0), 0),
    "tensors of rank 2": (sf.tensors(2), 2),
    "tensors of rank 3": (sf.tensors(3), 3),
}


def element(dim, improper):
    """A rotation and shift, or a rotation, reflection and shift, drawn with NumPy."""
    motions = draw_motions("E", dim, 2)
    return sf.Isometry(*[jnp.asarray(leaf[int(improper)]) for leaf in motions])


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.parametrize("dim", [1, 2, pytest.param(3, marks=pytest.mark.fast), 4])
def test_action_is_a_homomorphism_with_inverse(dim):
    data = {name: draw(4, *[dim] * rank) for name, (_, rank) in ACTIONS.items()}

    def laws(action, x, g, h):
        pairs = {
            "identity": (action.push(sf.Isometry.identity(dim, x.dtype), x), x),
            "composition": (action.push(g, action.push(h, x)), action.push(g.compose(h), x)),
            "pull undoes push": (action.pull(h, action.push(h, x)), x),
            "pull is the push of the inverse": (action.pull(h, x), action.push(h.inverse(), x)),
        }
        return pairs, action.push(g, x), action.push(h, x)

    @jax.jit
    def run(data, g, h):
        return {name: laws(action, data[name], g, h) for name, (action, _) in ACTIONS.items()}

    found = run(jax.tree.map(jnp.asarray, data), element(dim, False), element(dim, True))
    for name, (pairs, proper, improper) in found.items():
        for law, (left, right) in pairs.items():
            np.testing.assert_allclose(left, right, atol=1e-13, err_msg=f"{name}: {law}")
        # In one dimension the only rotation is the identity, and even tensors see no reflections.
        if ACTIONS[name][1] and dim > 1:
            assert not np.allclose(proper, data[name]), name
            assert not np.allclose(improper, data[name]), name


def test_points_shift_and_vectors_do_not():
    shift = sf.Isometry(jnp.eye(3), jnp.array([1.0, 2.0, 3.0]))
    x = draw(5, 3)
    points, vectors = jax.jit(lambda x: (sf.points.push(shift, x), sf.vectors.push(shift, x)))(x)
    np.testing.assert_allclose(points - x, np.tile([1.0, 2, 3], (5, 1)), atol=1e-15)
    np.testing.assert_array_equal(vectors, x)


@pytest.mark.fast
def test_products_of_vectors_move_as_they_should():
    """Cross products are pseudovectors, outer products are tensors, in a mirror."""
    outer = lambda x, y: x[:, :, None] * y[:, None, :]

    @jax.jit
    def run(a, b, g):
        moved = sf.vectors.push(g, a), sf.vectors.push(g, b)
        actions = (jnp.cross, sf.pseudovectors), (outer, sf.tensors(2))
        return [
            (product(*moved), action.push(g, product(a, b)), sf.vectors.push(g, product(a, b)))
            for product, action in actions
        ]

    for moved_first, moved_last, as_vectors in run(
        draw(5, 3), draw(5, 3, seed=1), element(3, True)
    ):
        np.testing.assert_allclose(moved_first, moved_last, atol=1e-13)
        assert not np.allclose(moved_first, as_vectors)


def test_rows_of_any_leading_shape_move_alike():
    x = draw(2, 4, 3)

    @jax.jit
    def run(x, g):
        return sf.points.push(g, x)[1, 2], sf.points.push(g, x[1, 2])

    np.testing.assert_allclose(*run(x, element(3, True)), atol=1e-15)


@pytest.mark.fast
def test_packed_moves_each_row_by_its_graph():
    data = {name: jnp.asarray(draw(6, *[3] * rank)) for name, (_, rank) in ACTIONS.items()}
    segment_ids = jnp.array([0, 0, 2, 1, 1, 2])

    @jax.jit
    def run(data, elements):
        rows = jax.tree.map(lambda leaf: leaf[segment_ids], elements)
        found = {}
        for name, (action, _) in ACTIONS.items():
            packed = sf.packed(action, segment_ids)
            moved = packed.push(elements, data[name])
            found[name] = (
                moved,
                jax.vmap(action.push)(rows, data[name]),
                packed.pull(elements, moved),
            )
        return found

    for name, (moved, expected, back) in run(data, sf.Isometry(*draw_motions("E", 3, 3))).items():
        np.testing.assert_allclose(moved, expected, atol=1e-14, err_msg=name)
        np.testing.assert_allclose(back, data[name], atol=1e-13, err_msg=name)


def test_actions_say_what_they_are():
    ids = jnp.array([0, 1])
    names = [
        (sf.points, "points"),
        (sf.vectors, "vectors"),
        (sf.tensors(2), "tensors(2)"),
        (sf.images, "images"),
        (sf.fields(sf.vectors, order=3), "fields(vectors, order=3)"),
        (sf.regular(sf.cyclic(4)), "regular(C4)"),
        (sf.packed(sf.points, ids), "packed(points)"),
        (sf.packed(None, ids), "packed(None)"),
        (sf.Action(draw, draw, name="mine"), "mine"),
        (sf.Action(draw, draw), "draw"),
    ]
    for action, name in names:
        assert repr(action) == f"Action({name})"
    shown = pydoc.render_doc(sf.points, renderer=pydoc.plaintext)
    assert "Moves positions, `x -> R x + t`" in shown and "push:" not in shown
    assert "group elements move one kind of data" in sf.Action(draw, draw).__doc__
    # A name tells nothing apart: what is compiled for one action serves the other.
    assert sf.Action(draw, draw, name="mine") == sf.Action(draw, draw)


def test_wrong_data_is_explained(unhooked):
    g = sf.Isometry.identity(3, jnp.float32)
    with pytest.raises(ValueError, match=r"points in 3 dimensions.*got shape \(3, 5\)"):
        sf.points.push(g, jnp.ones((3, 5), jnp.float32))
    with pytest.raises(ValueError, match="vectors of dtype float64 .* elements of dtype float32"):
        sf.vectors.push(g, jnp.ones((5, 3), jnp.float64))
    with pytest.raises(ValueError, match="rank must be a non-negative integer, got -1"):
        sf.tensors(-1)
    with pytest.raises(ValueError, match="segment_ids must be a vector of integers"):
        sf.packed(sf.points, jnp.ones(3))
    with pytest.raises(ValueError, match="packed data must have 2 rows"):
        sf.packed(sf.points, jnp.array([0, 0])).push(g, jnp.ones((3, 3)))
