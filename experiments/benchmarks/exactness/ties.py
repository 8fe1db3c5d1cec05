"""Clouds in which many points tie, and how many elements of a robust frame they need."""

import itertools
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import symjax_frames as sf
from experiments.errors import UsageError

_ROOM = (60, 12)
"""Choices of both axes that are looked at: all atoms of C60, and as many as by default."""

_SHAKE = 0.05
"""Angstroms by which shaken atoms are displaced along each axis, one standard deviation."""
_SEEDS = range(1, 13)
_GOLDEN = (1 + 5**0.5) / 2


class Ties(NamedTuple):
    """What a cloud needs.

    Attributes:
      points: their number.
      order: that of the symmetry group: no continuous frame has fewer elements.
      elements: those of a robust frame for E(3) with a nonzero weight.
      fits: whether the room that frames have by default holds them.
    """

    points: int
    order: int
    elements: int
    fits: bool


def count_ties(few: bool = False) -> dict[str, Ties]:
    """Counts the elements of symmetric clouds, and of crowds without a symmetry.

    Args:
      few: the small clouds alone.

    Returns:
      The counts by name; of several draws of a random cloud, the largest.

    Raises:
      UsageError: ase, which has the molecules and clusters, is not installed.
    """
    draws = _clouds(few)
    width = max(len(cloud) for _, cloud, _ in draws)
    points = np.zeros((len(draws), width, 3))
    mask = np.zeros(points.shape[:2], bool)
    for row, (_, cloud, _) in enumerate(draws):
        points[row, : len(cloud)], mask[row, : len(cloud)] = cloud, True
    counts: dict[str, Ties] = {}
    for (name, cloud, order), elements, dropped in zip(draws, *_needed(points, mask), strict=True):
        found = Ties(len(cloud), order, int(elements), not dropped > 0)
        before = counts.get(name, found)
        largest = max(found.elements, before.elements)
        counts[name] = found._replace(elements=largest, fits=found.fits and before.fits)
    if not few:
        sweep = jnp.asarray(_sweep())
        capacity, elements = sf.frame_capacity(sf.robust_frame, sweep[None], most=2**16)
        counts["lidar sweep, clipped at one range"] = Ties(
            len(sweep), 1, elements, max(capacity) <= 12
        )
    return counts


@jax.jit
@jax.vmap
def _needed(points: jax.Array, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The elements with a nonzero weight, and the weight that the default room drops."""
    wide = partial(sf.robust_frame, capacity=_ROOM, max_elements=1)
    elements = sf.frame_diagnostics(wide, points, mask).num_elements
    dropped = sf.frame_diagnostics(sf.robust_frame, points, mask).dropped
    assert dropped is not None, "it is known of a robust frame"
    return elements, dropped


_Draw = tuple[str, np.ndarray, int]


def _clouds(few: bool) -> list[_Draw]:
    """Names, clouds and orders of their groups; random clouds several times."""
    try:
        from ase.build import molecule
        from ase.cluster import Icosahedron
    except ImportError:
        raise UsageError(
            "the package ase, which has the molecules and clusters, must be installed: "
            "pip install -e '.[experiments]'"
        ) from None
    c60 = molecule("C60").positions
    shaken = [
        ("C60, shaken by 0.05 A", c60 + _SHAKE * _normal(seed, c60.shape), 1) for seed in _SEEDS
    ]
    draws = [("C60", c60, 120), ("dodecahedron", _dodecahedron(), 120)]
    draws += [("cube", np.array(list(itertools.product((-1.0, 1.0), repeat=3))), 48)]
    draws += [(f"{kind} of {n}", *cloud) for n in (5, 12) for kind, cloud in _rings(n).items()]
    draws += shaken
    if few:
        return draws
    draws += [(f"Cu{n}", Icosahedron("Cu", m).positions, 120) for n, m in ((55, 3), (147, 4))]
    draws += [("sphere of 300", _directions(seed, 300), 1) for seed in _SEEDS]
    return draws


def _sweep() -> np.ndarray:
    """Points around a sensor, of which those beyond 50 metres are seen at 50."""
    sweep = _directions(0, 20_000) * np.array([1, 1, 0.2])
    sweep /= np.linalg.norm(sweep, axis=1, keepdims=True)
    ranges = np.minimum(np.random.default_rng(1).exponential(40, len(sweep)), 50)
    return sweep * ranges[:, None]


def _rings(count: int) -> dict[str, tuple[np.ndarray, int]]:
    angles = 2 * np.pi * np.arange(count) / count
    clouds = {}
    for kind, turn in (("prism", 0.0), ("antiprism", np.pi / count)):
        rings = [(angles, 0.7), (angles + turn, -0.7)]
        parts = [np.stack([np.cos(a), np.sin(a), np.full(count, z)], axis=1) for a, z in rings]
        clouds[kind] = np.concatenate(parts), 4 * count
    return clouds


def _dodecahedron() -> np.ndarray:
    corners = list(itertools.product((-1.0, 1.0), repeat=3))
    edges = [np.roll((0, s / _GOLDEN, t * _GOLDEN), k) for s, t, _ in corners for k in range(3)]
    return np.unique(np.concatenate([corners, edges]), axis=0)


def _normal(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def _directions(seed: int, count: int) -> np.ndarray:
    drawn = _normal(seed, (count, 3))
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
