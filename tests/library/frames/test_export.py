"""`jax.export` of averages for any number of points."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

import symjax_frames as sf
from symjax_frames.frames import joint_cloud
from tests.helpers.clouds import draw_cloud

# Types are checked with integers in mind, which a length that is kept open is not.
pytestmark = pytest.mark.usefixtures("unhooked")

SMALL = {"capacity": (6,), "max_elements": 8}


def of_one_node(frames, x, mask):
    frame = frames(x, jnp.zeros(x.shape[:1], int), 1, 3.0, mask, **SMALL)
    return jax.tree.map(lambda leaf: leaf[:, 0], frame)


FRAMES = {
    "pca": sf.pca_frame,
    "canonical": functools.partial(sf.canonical_frame, sharpness=3.0),
    "robust": functools.partial(sf.robust_frame, **SMALL),
    "local": lambda x, mask: of_one_node(sf.local_frames, x, mask),
    "joint": lambda x, mask: sf.pca_frame(*joint_cloud(x, jnp.roll(x, 1, axis=1), mask)),
}


def shapes(*texts_and_dtypes):
    """Arrays whose axes have names, the same name meaning the same length."""
    scope = export.SymbolicScope()
    return [
        jax.ShapeDtypeStruct(export.symbolic_shape(text, scope=scope), dtype)
        for text, dtype in texts_and_dtypes
    ]


def energies(x, mask):
    masked = lambda x, mask: jnp.sum(jnp.where(mask[:, None], jnp.sin(x + 1) ** 2, 0))
    law = {"in_actions": (sf.points, None), "out_actions": None, "frame_argnums": (0, 1)}
    return {name: sf.frame_average(masked, frame, **law)(x, mask) for name, frame in FRAMES.items()}


def test_every_frame_is_exported_once_for_all_numbers_of_points():
    call = export.export(jax.jit(energies))(*shapes(("n, 2", float), ("n", bool))).call
    # Fewer points than choices of a robust frame; then the same points and padding, more of them.
    x, mask = draw_cloud(0, 5, 2), np.arange(5) < 4
    expected, found = jax.jit(energies)(x, mask), call(x, mask)
    padded = call(np.concatenate([x, np.full((7, 2), 9.0)]), np.arange(12) < 4)
    for name in FRAMES:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-12, err_msg=name)
        np.testing.assert_allclose(padded[name], expected[name], rtol=1e-12, err_msg=name)


def test_packed_graphs_are_exported_for_all_numbers_of_nodes_and_graphs():
    def energies(x, segment_ids, charges):
        graphs = charges.shape[0]
        pooled = lambda x: jax.ops.segment_sum(jnp.sum(jnp.sin(x + 1), 1), segment_ids, graphs)
        return sf.frame_average(
            pooled,
            lambda x: sf.packed_pca_frame(x, segment_ids, graphs),
            in_actions=sf.packed(sf.points, segment_ids),
            out_actions=sf.packed(None, jnp.arange(graphs)),
        )(x)

    done = export.export(jax.jit(energies))(*shapes(("n, 2", float), ("n", int), ("g", float)))
    x, segment_ids, charges = draw_cloud(0, 6, 2), np.array([0, 0, 0, 1, 1, 1]), np.zeros(2)
    found = done.call(x, segment_ids, charges)
    np.testing.assert_allclose(found, jax.jit(energies)(x, segment_ids, charges), rtol=1e-12)


def test_a_length_that_does_not_fit_is_still_refused():
    for text in ("n, 4", "5, 4"):
        call = lambda x: sf.robust_frame(x).weights
        with pytest.raises(ValueError, match="points must be in 2 or 3 dimensions"):
            export.export(jax.jit(call))(*shapes((text, float)))
