import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import symjax_frames as sf
from tests.helpers.clouds import draw_motions


def draw(dim, count):
    """Elements of E(dim) in one stack; every second one turns the hand around."""
    return sf.Isometry(*map(jnp.asarray, draw_motions("E", dim, count)))


def pick(elements, index):
    return jax.tree.map(lambda leaf: leaf[index], elements)


@pytest.mark.fast
class TestIsometries(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True)
    def test_they_form_a_group(self):
        for dim in (1, 2, 3, 5):
            identity = sf.Isometry.identity(dim, float)

            @self.variant
            def laws(a, b, c, identity=identity):
                return {
                    "associativity": (a.compose(b).compose(c), a.compose(b.compose(c))),
                    "identity on the right": (a.compose(identity), a),
                    "identity on the left": (identity.compose(a), a),
                    "inverse on the right": (a.compose(a.inverse()), identity),
                    "inverse on the left": (a.inverse().compose(a), identity),
                    "commutativity": (a.compose(b), b.compose(a)),
                }

            stack = draw(dim, 3)
            pairs = laws(*(pick(stack, index) for index in range(3)))
            forth, back = pairs.pop("commutativity")
            for left, right in pairs.values():
                chex.assert_trees_all_close(left, right, atol=1e-13, rtol=0)
            if dim > 1:
                assert not np.allclose(forth.linear, back.linear)

    @chex.variants(with_jit=True, without_jit=True)
    def test_compose_broadcasts_stacks_and_differentiates(self):
        stack = draw(3, 5)
        one, others = pick(stack, 0), pick(stack, slice(1, None))
        compose = self.variant(lambda g, h: g.compose(h))
        together = compose(one, others)
        for index in range(4):
            alone = compose(one, pick(others, index))
            chex.assert_trees_all_close(pick(together, index), alone, atol=1e-14, rtol=0)
        slope = self.variant(jax.grad(lambda g: jnp.sum(g.compose(one).shift)))(one)
        np.testing.assert_allclose(slope.shift, np.ones(3))


def test_actions_and_frames_are_pytrees():
    assert jax.tree.leaves(sf.points) == []
    frame = sf.Frame(draw(3, 8), np.full(8, 1 / 8))
    copy = jax.jit(lambda f, action: (f, action))(frame, sf.points)
    assert copy[1] is sf.points or copy[1] == sf.points
    assert jax.tree.structure(copy[0]) == jax.tree.structure(frame)
