import jax
import jax.numpy as jnp
import numpy as np
import pytest

import symjax_frames as sf

ACTIONS = {
    "points": (sf.points, 1),
    "vectors": (sf.vectors, 1),
    "pseudovectors": (sf.pseudovectors, 1),
    "scalars": (sf.tensors(0), 0),
    "tensors of rank 2": (sf.tensors(2), 2),
    "tensors of rank 3": (sf.tensors(3), 3),
}


def reflection(dim, dtype=jnp.float64):
    return sf.Isometry(jnp.eye(dim, dtype=dtype).at[0, 0].set(-1), jnp.zeros(dim, dtype))


def element(key, dim, improper, dtype=jnp.float64):
    g = sf.special_euclidean(dim).draw(key, dtype)
    return g.compose(reflection(dim, dtype)) if improper else g


@pytest.mark.parametrize("dim", [1, 2, 3, 4])
@pytest.mark.parametrize("name", ACTIONS)
def test_action_is_a_homomorphism_with_inverse(keys, name, dim):
    action, rank = ACTIONS[name]
    x = jax.random.normal(next(keys), (4, *[dim] * rank), jnp.float64)
    draws = jax.random.split(next(keys), 2)

    @jax.jit
    def laws(x, draws):
        g, h = element(draws[0], dim, False), element(draws[1], dim, True)
        pairs = {
            "identity": (action.push(sf.Isometry.identity(dim, x.dtype), x), x),
            "composition": (action.push(g, action.push(h, x)), action.push(g.compose(h), x)),
            "pull undoes push": (action.pull(h, action.push(h, x)), x),
            "pull is the push of the inverse": (action.pull(h, x), action.push(h.inverse(), x)),
        }
        return pairs, action.push(g, x), action.push(h, x)

    pairs, proper, improper = laws(x, draws)
    for law, (left, right) in pairs.items():
        np.testing.assert_allclose(left, right, atol=1e-13, err_msg=law)
    # In one dimension the only rotation is the identity, and even tensors do not see reflections.
    if rank and dim > 1:
        assert not np.allclose(proper, x)
        assert not np.allclose(improper, x)


def test_points_shift_and_vectors_do_not(keys):
    shift = sf.Isometry(jnp.eye(3), jnp.array([1.0, 2.0, 3.0]))
    x = jax.random.normal(next(keys), (5, 3))
    np.testing.assert_allclose(
        sf.points.push(shift, x) - x, np.tile([1.0, 2, 3], (5, 1)), atol=1e-15
    )
    np.testing.assert_array_equal(sf.vectors.push(shift, x), x)


def test_cross_products_are_pseudovectors(keys):
    a, b = jax.random.normal(next(keys), (2, 5, 3), jnp.float64)
    mirror = element(next(keys), 3, True)
    moved = jnp.cross(sf.vectors.push(mirror, a), sf.vectors.push(mirror, b))
    np.testing.assert_allclose(moved, sf.pseudovectors.push(mirror, jnp.cross(a, b)), atol=1e-13)
    assert not np.allclose(moved, sf.vectors.push(mirror, jnp.cross(a, b)))


def test_outer_products_are_tensors(keys):
    a, b = jax.random.normal(next(keys), (2, 5, 3), jnp.float64)
    g = element(next(keys), 3, True)
    outer = lambda x, y: x[:, :, None] * y[:, None, :]
    moved = outer(sf.vectors.push(g, a), sf.vectors.push(g, b))
    np.testing.assert_allclose(moved, sf.tensors(2).push(g, outer(a, b)), atol=1e-13)
    assert not np.allclose(moved, sf.vectors.push(g, outer(a, b)))


def test_rows_of_any_leading_shape_move_alike(keys):
    x = jax.random.normal(next(keys), (2, 4, 3))
    g = element(next(keys), 3, True)
    np.testing.assert_allclose(sf.points.push(g, x)[1, 2], sf.points.push(g, x[1, 2]), atol=1e-15)


@pytest.mark.parametrize("name", ACTIONS)
def test_packed_moves_each_row_by_its_graph(keys, name):
    action, rank = ACTIONS[name]
    x = jax.random.normal(next(keys), (6, *[3] * rank), jnp.float64)
    segment_ids = jnp.array([0, 0, 2, 1, 1, 2])
    elements = jax.vmap(lambda key: sf.euclidean(3).draw(key, x.dtype))(
        jax.random.split(next(keys), 3)
    )
    moved = sf.packed(action, segment_ids).push(elements, x)
    for row, graph in enumerate(segment_ids):
        g = jax.tree.map(lambda leaf, i=graph: leaf[i], elements)
        np.testing.assert_allclose(moved[row], action.push(g, x[row]), atol=1e-14)
    back = sf.packed(action, segment_ids).pull(elements, moved)
    np.testing.assert_allclose(back, x, atol=1e-13)


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
