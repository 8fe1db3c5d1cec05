import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import symjax_frames as sf
from symjax_frames.testing import hard_clouds
from tests.helpers.clouds import padded

POINTS = 9


def test_capacity_that_is_too_small_is_told(keys):
    clouds = {name: hard_clouds()[name] for name in ("cube", "square", "water")}
    x, masks = padded(clouds, "float64", POINTS)
    needed = sf.frame_capacity(sf.robust_frame, x, masks)
    assert needed == ((8, 6), 96)
    full = functools.partial(sf.robust_frame, **needed._asdict())
    counts = {"cube": 96, "square": 16, "water": 8}

    def of(options, row):
        frame = functools.partial(full, **options)
        return sf.frame_diagnostics(frame, x[row], masks[row]), frame(x[row], masks[row])

    for row, count in enumerate(counts.values()):
        found, frame = of({}, row)
        assert (found.num_elements, found.dropped, found.margin) == (count, 0, 1)
        assert np.sum(frame.weights > 0) == count
        assert frame.weights.shape == (96,)
    for options, dropped in (
        ({"max_elements": 24}, 0.75),
        ({"capacity": (4, 6)}, 0.5),
        ({"capacity": (8, 2)}, 2 / 3),
        ({"capacity": (4, 3), "max_elements": 12}, 7 / 8),
    ):
        found, frame = of(options, 0)
        np.testing.assert_allclose(found.dropped, dropped, atol=1e-12)
        np.testing.assert_allclose(np.sum(frame.weights), 1, atol=1e-14)
    # Attributes may be bound for all clouds or given for each.
    marks = jnp.arange(POINTS)
    marked = functools.partial(sf.robust_frame, attributes=marks)
    by_cloud = jnp.broadcast_to(marks, x.shape[:2])
    given = sf.frame_capacity(sf.robust_frame, x, masks, attributes=by_cloud)
    assert sf.frame_capacity(marked, x, masks) == given
    assert given.max_elements < 96
    # A capacity that fits one of a batch is told for that one.
    tight = functools.partial(full, max_elements=16)
    dropped = jax.vmap(lambda x, mask: sf.frame_diagnostics(tight, x, mask).dropped)(x, masks)
    np.testing.assert_allclose(dropped, [80 / 96, 0, 0], atol=1e-12)


def test_diagnostics_of_other_frames():
    cube, generic = jnp.asarray(hard_clouds()["cube"]), jnp.asarray(hard_clouds()["offset 1e3"])
    for frame, count in ((sf.pca_frame, 8), (sf.canonical_frame, 1)):
        bad, good = (sf.frame_diagnostics(frame, cloud) for cloud in (cube, generic))
        assert bad.num_elements == good.num_elements == count
        assert bad.dropped == good.dropped == 0
        assert bad.margin < 1e-12 < 1e-3 < good.margin
    smooth = functools.partial(sf.canonical_frame, sharpness=3.0)
    assert sf.frame_diagnostics(smooth, generic).num_elements == 8


CLOUD = jnp.eye(3)
MISTAKES = {
    "frame must be robust_frame, canonical_frame": lambda: sf.frame_diagnostics(sf.close, CLOUD),
    "frame must be robust_frame or a partial": lambda: sf.frame_capacity(sf.pca_frame, CLOUD[None]),
    "frame must not bind a mask": lambda: sf.frame_diagnostics(
        functools.partial(sf.robust_frame, mask=jnp.ones(3, bool)), CLOUD
    ),
    r"mask must be of shape \(1, 3\)": lambda: sf.frame_capacity(
        sf.robust_frame, CLOUD[None], jnp.ones(3, bool)
    ),
    "points must be a batch of clouds": lambda: sf.frame_capacity(sf.robust_frame, CLOUD),
}


@pytest.mark.usefixtures("unhooked")
@pytest.mark.parametrize("message", MISTAKES)
def test_mistakes_are_named(message):
    with pytest.raises(ValueError, match=message):
        MISTAKES[message]()
