"""Quadrature over the unit sphere: Lebedev's rules, and Gauss-Legendre where they end."""

import functools
import importlib.resources
import json

import numpy as np

from symjax_frames.groups._finite import signed_permutations


def sphere_rule(degree: int) -> tuple[np.ndarray, np.ndarray]:
    r"""A rule that averages all spherical harmonics up to `degree` exactly.

    Of the two rules known here, Lebedev's and Gauss-Legendre, it is the one with fewer points.

    Formula: $\sum_i w_i Y_{lm}(p_i) = 0$ for $1 \le l \le$ `degree` and all $m$, with $w_i > 0$ and
    $\sum_i w_i = 1$.

    Args:
      degree: at least 0.

    Returns:
      The unit vectors `(count, 3)` and their weights `(count,)`, in float64.
    """
    sufficient = sorted(exact for exact in map(int, lebedev_orbits()) if exact >= degree)
    rules = [lebedev_rule(exact) for exact in sufficient[:1]]
    return min([*rules, _gauss_legendre(degree)], key=lambda rule: len(rule[1]))


@functools.cache
def lebedev_orbits() -> dict[str, list[list[float]]]:
    """For each degree of a Lebedev rule, `x, y, z, weight` of one point of every octahedral orbit.

    The numbers solve the moment equations of the octahedral invariants to all 17 digits. Rules with
    negative weights (13, 25 and 27) are left out: a frame has none.
    """
    file = importlib.resources.files(__package__).joinpath("lebedev.json")
    return json.loads(file.read_text(encoding="utf-8"))


def lebedev_rule(degree: int) -> tuple[np.ndarray, np.ndarray]:
    """The rule of the given degree, one of those in the file, in about `(degree + 1)^2 / 3` points.

    References:
      Lebedev and Laikov, A quadrature formula for the sphere of the 131st algebraic order of
      accuracy, Doklady Mathematics 59, 1999, 477-481.
    """
    cube = np.asarray(signed_permutations(3).elements.linear)  # type: ignore[union-attr]
    points, weights = [], []
    for *point, weight in lebedev_orbits()[str(degree)]:
        # The sum turns -0.0 into 0.0: images of a point that coincide do so to the bit.
        orbit = np.unique(cube @ np.array(point) + 0.0, axis=0)
        points.append(orbit)
        weights.append(np.full(len(orbit), weight))
    return np.concatenate(points), np.concatenate(weights)


def _gauss_legendre(degree: int) -> tuple[np.ndarray, np.ndarray]:
    """Gauss-Legendre latitudes times `degree + 1` equispaced longitudes."""
    heights, weights = np.polynomial.legendre.leggauss(degree // 2 + 1)
    longitudes = 2 * np.pi * np.arange(degree + 1) / (degree + 1)
    radii = np.sqrt((1 - heights) * (1 + heights))
    points = np.stack(
        [
            np.outer(radii, np.cos(longitudes)),
            np.outer(radii, np.sin(longitudes)),
            np.broadcast_to(heights[:, None], (len(heights), degree + 1)),
        ],
        axis=-1,
    )
    return points.reshape(-1, 3), np.repeat(weights / weights.sum() / (degree + 1), degree + 1)
