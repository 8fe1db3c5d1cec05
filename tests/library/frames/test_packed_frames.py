"""Frames of packed graphs, made by gathering each graph into a padded cloud."""

import functools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import symjax_frames as sf
from symjax_frames.frames import packed_frame
from symjax_frames.testing import packed_group
from tests.helpers.clouds import draw_cloud

# A square, whose points all tie; one point; no node at all; a generic cloud. Then a node that is
# masked and one of no graph.
SQUARE = np.array([[1.0, 0], [0, 1], [-1, 0], [0, -1]])
IDS = np.array([0, 0, 0, 0, 1, 3, 3, 3, 3, 3, 4])
REAL = np.arange(11) < 9
POINTS = np.concatenate([SQUARE, [[2.0, 3]], draw_cloud(1, 4, 2), [[5.0, 1]] * 2])
KINDS = np.array([1.0, 2, 1, 2, 1, 1, 3, 2, 1, 9, 9])
WEIGHT = np.random.default_rng(0).normal(size=(2, 2))
GRAPHS = 4


def backbone(x, ids, mask, graphs):
    """Neither odd nor even, in which every node sees the nodes of its graph."""
    h = jnp.where(mask[:, None], jnp.sin(jnp.where(mask[:, None], x, 0) @ WEIGHT + 0.5), 0)
    pooled = jax.ops.segment_sum(h, ids, graphs)
    return {"moved": x + jnp.tanh(h + pooled[ids]), "energy": pooled[:, 0] ** 2}


def outputs_and_slope(average, x):
    def total(x):
        outputs = average(x)
        return jnp.sum(outputs["energy"]), outputs

    slope, outputs = jax.grad(total, has_aux=True)(x)
    return outputs | {"slope": slope}


@jax.jit
@jax.vmap
def packed(x, ids, mask, kinds):
    moves = {"moved": sf.packed(sf.points, ids), "energy": sf.packed(None, jnp.arange(GRAPHS))}
    bare = lambda x: backbone(x, ids, mask, GRAPHS)
    frame = lambda x: sf.packed_robust_frame(
        x, ids, GRAPHS, mask, max_points=9, attributes=kinds, max_elements=8
    )
    average = sf.frame_average(bare, frame, in_actions=sf.packed(sf.points, ids), out_actions=moves)
    return outputs_and_slope(average, x) | {"bare": bare(x)["energy"]}


@jax.jit
@jax.vmap
def alone(x, mask, kinds):
    frame = lambda x: sf.robust_frame(x, mask, attributes=kinds, max_elements=8)
    average = sf.frame_average(
        lambda x: backbone(x, jnp.zeros(len(x), int), mask, 1),
        frame,
        in_actions=sf.points,
        out_actions={"moved": sf.points, "energy": None},
    )
    return outputs_and_slope(average, x)


def drawn():
    """Cases of one shape: as it is, moved, relabelled, other padding, controls; and the motion."""
    draw = packed_group(sf.euclidean(2), GRAPHS).draw
    g = jax.device_get(jax.jit(lambda key: draw(key, float))(jax.random.key(3)))
    moved = np.einsum("nij,nj->ni", g.linear[IDS % GRAPHS], POINTS) + g.shift[IDS % GRAPHS]
    order = np.random.default_rng(1).permutation(len(IDS))
    usual = (POINTS, IDS, REAL, KINDS)
    cases = {
        "usual": usual,
        "moved": (moved, *usual[1:]),
        "relabelled": tuple(each[order] for each in usual),
        "padded": (np.where(REAL[:, None], POINTS, 1e10), IDS, REAL, np.where(REAL, KINDS, 1e10)),
        "merged": (POINTS, 0 * IDS, REAL, KINDS),
        "unmasked": (POINTS, IDS, REAL | True, KINDS),
        "other kinds": (POINTS, IDS, REAL, KINDS[::-1].copy()),
    }
    return cases, g, order


@pytest.fixture(scope="module")
def found():
    cases, g, order = drawn()
    values = packed(*map(np.stack, zip(*cases.values(), strict=True)))
    found = {
        name: jax.tree.map(lambda leaf, row=row: np.asarray(leaf[row]), values)
        for row, name in enumerate(cases)
    }
    return found, g, order


@pytest.mark.fast
def test_packed_robust_frames_equal_those_of_each_graph_alone(found):
    found, *_ = found
    x, mask, kinds = np.zeros((GRAPHS, 9, 2)), np.zeros((GRAPHS, 9), bool), np.zeros((GRAPHS, 9))
    parts = [np.flatnonzero((IDS == graph) & REAL) for graph in range(GRAPHS)]
    for graph, part in enumerate(parts):
        x[graph, : len(part)], kinds[graph, : len(part)] = POINTS[part], KINDS[part]
        mask[graph, : len(part)] = True
    each = jax.device_get(alone(x, mask, kinds))

    def errors(name):
        of_graphs = [np.max(np.abs(found[name]["energy"] - each["energy"][:, 0]))]
        for key in ("moved", "slope"):
            rows = np.concatenate([each[key][g, : len(part)] for g, part in enumerate(parts)])
            of_graphs.append(np.max(np.abs(found[name][key][REAL] - rows)))
        return np.array(of_graphs)

    assert np.all(errors("usual") < [1e-12, 1e-12, 1e-11])
    for control in ("merged", "unmasked", "other kinds"):
        assert np.all(errors(control) > 1e-3), control
    assert np.max(np.abs(found["usual"]["slope"][REAL])) > 0.1


def test_packed_robust_frames_are_equivariant_graph_by_graph(found):
    found, g, order = found
    usual, moved, relabelled = (found[name] for name in ("usual", "moved", "relabelled"))
    linear, shift = g.linear[IDS[REAL]], g.shift[IDS[REAL]]
    turn = lambda rows: np.einsum("nij,nj->ni", linear, rows[REAL])
    np.testing.assert_allclose(moved["energy"], usual["energy"], atol=1e-12)
    np.testing.assert_allclose(moved["moved"][REAL], turn(usual["moved"]) + shift, atol=1e-12)
    np.testing.assert_allclose(moved["slope"][REAL], turn(usual["slope"]), atol=1e-11)
    assert np.max(np.abs(moved["bare"] - usual["bare"])) > 1e-2

    kept = REAL[order]
    np.testing.assert_allclose(relabelled["energy"], usual["energy"], atol=1e-12)
    for key in ("moved", "slope"):
        rows = usual[key][order][kept]
        np.testing.assert_allclose(relabelled[key][kept], rows, atol=1e-11)
        assert np.max(np.abs(usual[key][REAL] - rows)) > 1e-2


def test_padding_of_packed_frames_changes_no_bit(found):
    found, *_ = found
    for key in ("energy", "moved", "slope"):
        usual, other = (found[name][key] for name in ("usual", "padded"))
        if key != "energy":
            usual, other = usual[REAL], other[REAL]
        np.testing.assert_array_equal(other, usual)
    # The masked node is moved by the frame of its graph, that of no graph is left out.
    assert not np.any(found["usual"]["moved"][~(IDS < GRAPHS)])
    assert np.all(np.isfinite(found["usual"]["slope"]))


def test_any_frame_of_clouds_is_packed():
    constants = [jnp.asarray(each) for each in (IDS, REAL)]
    means = functools.partial(sf.pca_frame, group="T")

    @jax.jit
    def run(x, ids, mask):
        known = packed_frame(means, x, constants[0], GRAPHS, constants[1])
        tight = packed_frame(means, x, ids, GRAPHS, mask, max_points=3)
        return known, tight

    known, tight = jax.device_get(run(POINTS, *constants))
    centroids = [[0, 0], POINTS[4], [0, 0], np.mean(POINTS[5:9], axis=0)]
    np.testing.assert_allclose(known.elements.shift, [centroids], atol=1e-14)
    np.testing.assert_array_equal(known.weights, np.ones((1, GRAPHS)))
    # Two graphs of four nodes do not fit into three slots.
    np.testing.assert_array_equal(tight.weights, [[np.nan, 1, 1, np.nan]])


def test_what_does_not_fit_a_packed_frame_is_refused(unhooked):
    x, ids = jnp.asarray(POINTS[:6]), jnp.array([0, 0, 0, 0, 1, 1])
    refused = {
        "max_points must be at least 4, the number of nodes of the largest graph, got 3": {
            "max_points": 3
        },
        "max_points must be a positive integer, got 0": {"max_points": 0},
        "attributes must have 6 rows, one for each node": {"attributes": jnp.ones(5)},
        "segment_ids must be integers of shape": {"segment_ids": ids[:3]},
        "num_segments must be a positive integer": {"num_segments": 0},
        "mask must be boolean": {"mask": ids},
        "points must be one cloud": {"points": x[None]},
        "threshold must be a number above 0": {"threshold": 2.0},
        r"from 0 to 1, with one other value for padding, got 2, 5": {
            "segment_ids": jnp.array([0, 0, 2, 5, 1, 1])
        },
    }
    usual = {"points": x, "segment_ids": ids, "num_segments": 2}
    for message, wrong in refused.items():
        pack = lambda wrong=wrong: sf.packed_robust_frame(**{**usual, **wrong})
        with pytest.raises(ValueError, match=message):
            jax.eval_shape(pack)
    wrong = {"frame must be a function": sf.cyclic(3), "must return a Frame": lambda x, mask: x}
    for message, frame in wrong.items():
        with pytest.raises(ValueError, match=message):
            jax.eval_shape(lambda frame=frame: packed_frame(frame, x, ids, 2))
    # The masked node does not count, which only its mask tells.
    pack = functools.partial(packed_frame, sf.pca_frame, x, ids)
    jax.eval_shape(lambda: pack(2, jnp.asarray(np.arange(6) > 0), max_points=3))
    with pytest.warns(UserWarning, match="2 nodes are in none of the num_segments=1 graphs"):
        jax.eval_shape(lambda: pack(1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        jax.eval_shape(lambda: pack(1, jnp.asarray(np.arange(6) < 4)))


def test_packed_frames_ask_before_they_take_much_memory(unhooked):
    count = 3000
    points, ids = np.zeros((count, 2), np.float32), np.arange(count)
    run = lambda ids, **options: jax.eval_shape(
        lambda x, ids: packed_frame(sf.pca_frame, x, ids, count, **options), points, ids
    )
    with pytest.raises(ValueError, match="max_points must be given, .* 3000 x 3000 = 9000000"):
        run(ids)
    assert run(ids, max_points=8).weights.shape == (4, count)
    # One node a graph: where this is known, nothing has to be said.
    known = lambda x: packed_frame(sf.pca_frame, x, ids, count)
    assert jax.eval_shape(known, points).weights.shape == (4, count)
