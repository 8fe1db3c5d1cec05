import jax
import jax.numpy as jnp
import numpy as np
import pytest

import symjax_frames as sf


@pytest.mark.parametrize("dim", [1, 2, 3, 5])
def test_affine_elements_form_a_group(keys, dim):
    group = sf.euclidean(dim)
    a, b, c = (group.draw(next(keys), jnp.float64) for _ in range(3))
    identity = sf.Isometry.identity(dim, jnp.float64)

    def same(g, h):
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-13), g, h)

    same(a.compose(b).compose(c), a.compose(b.compose(c)))
    same(a.compose(identity), a)
    same(identity.compose(a), a)
    same(a.compose(a.inverse()), identity)
    same(a.inverse().compose(a), identity)
    if dim > 1:
        assert not np.allclose(a.compose(b).linear, b.compose(a).linear)


def test_compose_broadcasts_stacks_and_differentiates(keys):
    draws = jax.random.split(next(keys), 4)
    stack = jax.vmap(lambda key: sf.euclidean(3).draw(key, jnp.float64))(draws)
    one = sf.euclidean(3).draw(next(keys), jnp.float64)
    together = jax.jit(lambda g, h: g.compose(h))(one, stack)
    for index in range(4):
        alone = one.compose(jax.tree.map(lambda leaf, i=index: leaf[i], stack))
        np.testing.assert_allclose(together.shift[index], alone.shift, atol=1e-14)
        np.testing.assert_allclose(together.linear[index], alone.linear, atol=1e-14)
    slope = jax.grad(lambda g: jnp.sum(g.compose(one).shift))(one)
    np.testing.assert_allclose(slope.shift, np.ones(3))


def test_actions_and_frames_are_pytrees(keys):
    assert jax.tree.leaves(sf.points) == []
    frame = sf.pca_frame(jax.random.normal(next(keys), (5, 3)))
    copy = jax.jit(lambda f, action: (f, action))(frame, sf.points)
    assert copy[1] is sf.points or copy[1] == sf.points
    assert jax.tree.structure(copy[0]) == jax.tree.structure(frame)
