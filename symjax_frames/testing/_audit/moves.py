"""Where a function is audited: at random group elements, and on paths through a cloud."""

from collections.abc import Callable
from typing import Literal

import numpy as np
from jaxtyping import Float

Path = Callable[[np.ndarray], list[np.ndarray]]
"""A function of times in [0, 1]: the arguments that move, with a row for each time."""

_AMPLITUDE = 0.1
"""How far a path leads away, in sizes of the cloud."""

_FLAT = 1e-3
"""A principal axis shorter than this part of the longest one is not made longer than another."""


def draw_orthogonal(
    rng: np.random.Generator, count: int, dim: int, kind: Literal["proper", "improper"]
) -> Float[np.ndarray, "count dim dim"]:
    """Uniform rotations, or rotations times a reflection."""
    q, r = np.linalg.qr(rng.normal(size=(count, dim, dim)))
    q = q * np.sign(np.diagonal(r, axis1=1, axis2=2))[:, None, :]
    wrong = np.linalg.det(q) < 0 if kind == "proper" else np.linalg.det(q) > 0
    q[:, :, 0] *= np.where(wrong, -1, 1)[:, None]
    return q


def size_of(leaf: np.ndarray) -> float:
    """The largest distance of a coordinate from its mean over the rows; 1 if all are zero."""
    leaf = leaf.astype(np.float64)
    rows = leaf.reshape(-1, leaf.shape[-1])
    spread = np.max(np.abs(rows - np.mean(rows, axis=0)))
    # The spread of equal points is the rounding of their mean.
    magnitude = np.max(np.abs(rows))
    if spread > 1e-12 * magnitude:
        return float(spread)
    return float(magnitude) or 1.0


def straight_paths(rng: np.random.Generator, moved: list[np.ndarray]) -> list[Path]:
    """A random line through the input itself, which may be degenerate, and one beside it."""

    def step() -> list[np.ndarray]:
        return [_AMPLITUDE * size_of(leaf) * rng.normal(size=leaf.shape) for leaf in moved]

    start = [leaf.astype(np.float64) for leaf in moved]
    away, across, beside = step(), step(), step()
    through = [_line(x - a, 2 * a) for x, a in zip(start, away, strict=True)]
    around = [_line(x + b - a, 2 * a) for x, a, b in zip(start, across, beside, strict=True)]
    return [
        lambda times: [line(times) for line in through],
        lambda times: [line(times) for line in around],
    ]


def _line(start: np.ndarray, step: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    return lambda times: start + times.reshape(-1, *[1] * start.ndim) * step


def crossing_paths(moved: list[np.ndarray], centre: Float[np.ndarray, " dim"]) -> list[Path]:
    """Paths that stretch the cloud along two principal axes until their variances change places.

    The variances are equal half-way. The first leaf is the cloud, the others stay as they are.
    There is a path for each pair of neighbouring axes, at most two, and none for a cloud on a line,
    whose second axis has no length to stretch.
    """
    cloud, *others = (leaf.astype(np.float64) for leaf in moved)
    left, lengths, right = np.linalg.svd(cloud - centre, full_matrices=False)

    def stretch(first: int) -> Path:
        pair = lengths[first : first + 2]
        middle = np.exp(np.mean(np.log(pair)))
        reach = max(np.log(pair[0] / pair[1]) / 2, _AMPLITUDE)

        def at(times: np.ndarray) -> list[np.ndarray]:
            now = np.tile(lengths, (len(times), 1))
            now[:, first] = middle * np.exp(reach * (1 - 2 * times))
            now[:, first + 1] = middle * np.exp(reach * (2 * times - 1))
            stretched = (left * now[:, None]) @ right + centre
            return [stretched, *(np.tile(leaf, (len(times), *[1] * leaf.ndim)) for leaf in others)]

        return at

    long = lengths > _FLAT * lengths[0]
    return [stretch(first) for first in range(len(lengths) - 1) if long[first + 1]][:2]
