"""Paths of clouds through symmetric, planar and linear ones, and jumps of energies on them."""

from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Float

from experiments.benchmarks.exactness.clouds import HARD, Clouds, pad
from experiments.benchmarks.exactness.methods import Run
from symjax_frames.testing import hard_clouds

Path = Callable[[float], np.ndarray]
"""A cloud for every number from -1 to 1; at 0 it is the most symmetric."""

SHOWN = "benzene"
"""The path whose energies are drawn."""

LARGEST_CHANGE = 1e-4
"""The largest change of the energy, relative to its range, that is no jump."""

_SHOWN_TIMES = 401
_SEGMENTS = 16
_HALVINGS = 22
"""Until the last step is shorter than float32 resolves, and no change is left but of a jump."""


def make_paths() -> dict[str, Path]:
    """The paths by name; on all but the last two the eigenvalues of the covariance cross."""
    rng = np.random.default_rng(2)
    hard = hard_clouds()
    tilt, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    one, other = _isotropic(rng.normal(size=(6, 3))), rng.normal(size=(6, 3))

    def distorted(cloud: np.ndarray) -> Path:
        steps = 0.2 * rng.normal(size=cloud.shape)
        return lambda t: (cloud + t * steps) @ tilt.T

    def stretched(cloud: np.ndarray) -> Path:
        return lambda t: (cloud * np.array([1 + 0.3 * t, 1 - 0.3 * t, 1])) @ tilt.T

    start = one * np.array([1, 0.6, 0.8])
    line = np.array([-1.3, 0, 0.9, 1.9])[:, None] * np.array([1.0, 0, 0])
    sideways = np.array([0.3, 0, 0, 0.5])[:, None] * np.array([0, 1.0, 0])
    return {
        "box": distorted(hard["cube"] * np.array([1, 1, 0.6])),
        "cube": distorted(hard["cube"]),
        "methane": distorted(hard["methane"]),
        SHOWN: distorted(hard["benzene"]),
        "flat cloud": stretched(one * np.array([1, 1, 0])),
        "generic cloud": stretched(one * np.array([1, 1, 0.5])),
        "through a plane": lambda t: one * np.array([1, 0.6, t]) @ tilt.T,
        "through a line": lambda t: (line + t * sideways) @ tilt.T,
        "to another cloud": lambda t: (1 - t) / 2 * start + (1 + t) / 2 * other,
    }


def _isotropic(cloud: np.ndarray) -> np.ndarray:
    """The cloud made as wide in all directions."""
    columns, _ = np.linalg.qr(cloud - cloud.mean(axis=0))
    return columns * np.sqrt(len(cloud) / 3)


def shown_times() -> Float[np.ndarray, " times"]:
    """Numbers evenly spread from -1 to 1, at which the energies along a path are drawn."""
    return np.linspace(-1, 1, _SHOWN_TIMES)


def energies(
    run: Run, paths: Mapping[str, Path], times: Float[np.ndarray, "paths times"]
) -> Float[np.ndarray, "paths times"]:
    """The energies along paths.

    Args:
      run: the outputs for clouds.
      paths: by name.
      times: from -1 to 1, for each path.
    """
    clouds_along = [path(t) for path, row in zip(paths.values(), times, strict=True) for t in row]
    points, mask = pad(clouds_along)
    count = len(clouds_along)
    names, kinds = ("",) * count, (HARD,) * count
    clouds = Clouds(names, kinds, points, mask, mask.astype(float), np.ones(count))
    return run(clouds)["values"].reshape(times.shape)


def jumps(run: Run, paths: Mapping[str, Path]) -> dict[str, float]:
    """The largest jump of the energy along each path, relative to its range.

    A path is cut into segments. Of each segment the half with the larger change is kept, many
    times. So the change of a continuous function shrinks to nothing, and a jump stays.

    Args:
      run: the outputs for clouds.
      paths: by name.

    Returns:
      The largest change left, by path; NaN where an energy is not finite.
    """
    grid = np.tile(np.linspace(-1, 1, _SEGMENTS + 1), (len(paths), 1))
    values = energies(run, paths, grid)
    low, high, at_low, at_high = grid[:, :-1], grid[:, 1:], values[:, :-1], values[:, 1:]
    least, most = np.min(values, axis=1), np.max(values, axis=1)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        at_middle = energies(run, paths, middle)
        least = np.minimum(least, np.min(at_middle, axis=1))
        most = np.maximum(most, np.max(at_middle, axis=1))
        second = np.abs(at_high - at_middle) > np.abs(at_middle - at_low)
        low, high = np.where(second, middle, low), np.where(second, high, middle)
        at_low = np.where(second, at_middle, at_low)
        at_high = np.where(second, at_high, at_middle)
    left = np.max(np.abs(at_high - at_low), axis=1) / (most - least)
    return dict(zip(paths, left.tolist(), strict=True))
