"""Weight that has no room is never dropped in silence. In the plane, whose frames compile fastest."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import symjax_frames as sf
from symjax_frames.frames._gram_schmidt import Bases
from symjax_frames.frames._overflow import local_weights, robust_weights
from symjax_frames.frames._robust_options import RobustOptions

SQUARE = jnp.array([[1.0, 0], [0, 1], [-1, 0], [0, -1]])
FITS = jnp.array([[3.0, 0], [0, 1], [-1, 1], [1, -1]])
TIGHT = functools.partial(sf.robust_frame, max_elements=2)


def test_what_has_no_room_is_told_outside_of_jit():
    words = r"drops 75 % .*: capacity=\(4,\) and max_elements=8 are needed.* max_elements=2\b"
    average = sf.frame_average(jnp.sum, TIGHT, in_actions=sf.points, out_actions=None)
    with pytest.warns(sf.frames.FrameOverflowWarning, match=words) as caught:
        average(SQUARE)
    (warning,) = caught
    assert sf.__path__[0] not in warning.filename
    # Warnings are errors in all tests: none where there is room, and none of traced values.
    assert np.count_nonzero(TIGHT(FITS).weights) == 2
    assert jax.eval_shape(TIGHT, SQUARE).weights.shape == (2,)


def test_rounding_is_not_told_and_derivatives_hide_nothing():
    needed, room = jnp.array([5, 10]), lambda: RobustOptions(sf.signs(2), (4,), 8)

    def weights(dropped):
        bases = Bases(jnp.eye(2)[None], jnp.ones(1), needed, dropped)
        return robust_weights(bases, "drop", room)

    assert weights(jnp.asarray(1e-15)) == 1
    words = r"drops 1e-10 % .*: at least capacity=\(5,\) and max_elements=10 are needed"
    for call in (weights, lambda dropped: jax.jvp(weights, [dropped], [dropped])):
        with pytest.warns(sf.frames.FrameOverflowWarning, match=words):
            call(jnp.asarray(1e-12))


def test_lost_weight_may_be_nan():
    """Of the clouds of a batch the square is the one that has no room."""
    law = {"in_actions": sf.points, "out_actions": None}

    @jax.jit
    @jax.vmap
    def run(x):
        frame = functools.partial(TIGHT, on_overflow="nan")
        average = sf.frame_average(lambda x: jnp.sum(x**2 + x), frame, **law)
        total = sf.frame_diagnostics(frame, x).total_weight
        return TIGHT(x), frame(x), total, average(x)

    dropped, lost, *others = run(jnp.stack([SQUARE, FITS]))
    np.testing.assert_allclose(np.sum(dropped.weights, axis=1), 1)
    np.testing.assert_array_equal(lost.weights[1], dropped.weights[1])
    np.testing.assert_array_equal(lost.elements.linear, dropped.elements.linear)
    for leaf in (lost.weights, *others):
        assert np.all(np.isnan(leaf[0])) and np.all(np.isfinite(leaf[1]))


def test_packed_frames_tell_too():
    """Of the square; neither of the graph that fits nor of the one without nodes."""
    nodes, ids = jnp.concatenate([FITS, SQUARE]), jnp.repeat(jnp.arange(2), 4)
    with pytest.warns(sf.frames.FrameOverflowWarning) as caught:
        frame = sf.packed_robust_frame(nodes, ids, 3, max_elements=2)
    (warning,) = caught
    text = str(warning.message)
    assert "packed_robust_frame drops, at 1 of 3 graphs, most needed at graph 1, 75 %" in text
    assert frame.weights.shape == (2, 3)
    lost = sf.packed_robust_frame(nodes, ids, 3, max_elements=2, on_overflow="nan").weights
    lost = np.isnan(lost)
    np.testing.assert_array_equal(lost, [[False, True, False]] * 2)


def test_frames_of_nodes_tell_too():
    bases = Bases(jnp.eye(2)[None], jnp.ones((3, 1)), jnp.array([[1, 2], [2, 4], [1, 2]]), 0.0)
    tell = functools.partial(local_weights, room=lambda: RobustOptions(sf.signs(2), (2,), 2))
    none, some = jnp.zeros(3), jnp.array([0, 0.5, 0])
    neighbours = jnp.array([2, 2, 3])
    assert tell(bases._replace(dropped=none), neighbours, 3, "drop").shape == (1, 3)
    with pytest.warns(sf.frames.FrameOverflowWarning) as caught:
        tell(bases._replace(dropped=some), neighbours, 2, "drop")
    first, second = [str(warning.message) for warning in caught]
    assert "drops, at 1 of 3 nodes, most needed at node 1, 50 %" in first
    assert "max_elements=4 are needed, and there is room for capacity=(2,) and max_el" in first
    assert "leaves neighbours out at 1 of 3 nodes: node 2 has 3 within" in second


def test_frames_of_nodes_may_be_nan():
    """One node has a neighbour too many, one neighbours that tie, one what fits, one none."""
    points = jnp.array([[0.0, 0], [1, 0], [2, 0], [0, 0.3]])
    senders, receivers = jnp.array([[1, 2, 3, 0, 2, 1], [0, 0, 0, 1, 1, 2]])
    frame = jax.jit(
        lambda points: sf.local_frames(
            *(points[senders] - points[receivers], receivers, 4, 5.0),
            max_neighbours=2,
            max_elements=2,
            on_overflow="nan",
        )
    )
    lost = np.isnan(frame(points).weights)
    np.testing.assert_array_equal(lost, [[True, True, False, True]] * 2)


@pytest.mark.usefixtures("unhooked")
def test_other_words_are_refused():
    none = jnp.zeros(0, int)
    local = functools.partial(sf.local_frames, SQUARE[:0], none, 4, 5.0)
    for call in (functools.partial(TIGHT, SQUARE), local):
        with pytest.raises(ValueError, match="on_overflow must be 'drop' or 'nan', got 'raise'"):
            call(on_overflow="raise")
