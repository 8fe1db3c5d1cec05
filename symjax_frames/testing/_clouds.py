"""Point clouds to test with: generic ones of stated conditioning, and the hard ones."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from symjax_frames._checks import check_positive
from symjax_frames._sharding import on_own_mesh


@on_own_mesh
def generic_cloud(
    key: Key[Array, ""], count: int, dim: int, *, gap: float = 0.2, dtype: Any = float
) -> Float[Array, "points dim"]:
    r"""A random cloud whose covariance has a known, simple spectrum.

    The eigenvalues of $R^T R$ are $1 - k\,gap$ for $k = 0 \ldots dim - 1$, so that
    `spectral_gap` is `gap`; axes, centroid and everything else are random.

    Args:
      key: draws the cloud.
      count: the number of points, more than `dim`.
      dim: the number of axes.
      gap: the relative gap between neighbouring eigenvalues, with `gap (dim - 1) < 1`.
      dtype: the dtype of the cloud.

    Returns:
      The cloud, of a size of order one, its centroid within a few units of the origin.

    Raises:
      ValueError: if `count`, `dim` or `gap` is out of range.
    """
    check_positive("dim", dim)
    check_positive("count", count)
    if count <= dim:
        raise ValueError(f"count must exceed dim={dim} for a cloud of full rank, got {count}")
    if not 0 < gap or gap * (dim - 1) >= 1:
        raise ValueError(f"gap must be positive and below 1 / (dim - 1), got {gap} for dim={dim}")
    shape_key, axes_key, shift_key = jax.random.split(key, 3)
    # Orthonormal columns perpendicular to the ones vector: centred, with covariance one.
    ones = jnp.ones((count, 1), dtype)
    columns, _ = jnp.linalg.qr(
        jnp.concatenate([ones, jax.random.normal(shape_key, (count, dim), dtype)], axis=1)
    )
    spread = jnp.sqrt(1 - gap * jnp.arange(dim, dtype=dtype))
    axes, _ = jnp.linalg.qr(jax.random.normal(axes_key, (dim, dim), dtype))
    cloud = jnp.matmul(columns[:, 1:] * spread[None], axes.T, precision=jax.lax.Precision.HIGHEST)
    return cloud + jax.random.normal(shift_key, (1, dim), dtype)


def hard_clouds() -> dict[str, np.ndarray]:
    """The inputs on which frames break: symmetric, degenerate, shifted and badly scaled clouds.

    Molecules are built from bond lengths in Angstrom and angles. Methane, ammonia, benzene, the
    solids and the square have repeated eigenvalues; water and pyridine are planar; CO2 and the line
    are collinear. The others have few points or repeated ones, or are far away, tiny or huge.

    Returns:
      Float64 arrays of shape `(points, 3)` by name.
    """
    noise = np.random.default_rng(0)
    generic = noise.normal(size=(6, 3))
    cube = np.array([[x, y, z] for x in (-1.0, 1) for y in (-1.0, 1) for z in (-1.0, 1)])
    octahedron = np.concatenate([np.eye(3), -np.eye(3)])
    half_angle = np.radians(104.5 / 2)
    water = 0.958 * np.array(
        [[0, 0, 0], [np.sin(half_angle), np.cos(half_angle), 0]]
        + [[-np.sin(half_angle), np.cos(half_angle), 0]]
    )
    methane = np.concatenate([np.zeros((1, 3)), 1.09 / np.sqrt(3) * cube[[0, 3, 5, 6]]])
    ammonia = np.concatenate([[[0, 0, 0.38]], _ring(3, 0.94)])
    benzene = np.concatenate([_ring(6, 1.39), _ring(6, 2.48)])
    pyridine = benzene[:-1] * np.array([1.0, 1.02, 1.0])
    pyridine[5] *= 0.97
    line = np.array([0.0, 1.0, 2.7, 3.1])[:, None] * np.array([[1.0, 2.0, -1.0]])
    return {
        "water": water,
        "pyridine": pyridine,
        "carbon dioxide": 1.16 * np.array([[0.0, 0, 0], [0, 0, 1], [0, 0, -1]]),
        "asymmetric line": line,
        "ammonia": ammonia,
        "methane": methane,
        "benzene": benzene,
        "cube": cube,
        "octahedron": octahedron,
        "square": _ring(4, 1.0),
        "cube with 1e-6 noise": cube + 1e-6 * noise.normal(size=cube.shape),
        "cube with 1e-3 noise": cube + 1e-3 * noise.normal(size=cube.shape),
        "all points equal": np.full((4, 3), 0.3),
        "one point": generic[:1],
        "two points": generic[:2],
        "duplicated points": np.concatenate([generic, generic[:3]]),
        "offset 1e3": generic + 1e3,
        "offset 1e6": generic + 1e6,
        "scale 1e-20": generic * 1e-20,
        "scale 1e20": generic * 1e20,
    }


def _ring(count: int, radius: float) -> np.ndarray:
    angles = 2 * np.pi * np.arange(count) / count
    return radius * np.stack([np.cos(angles), np.sin(angles), np.zeros(count)], axis=1)
