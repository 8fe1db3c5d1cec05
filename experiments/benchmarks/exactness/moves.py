"""Random motions, reflections and orders of padded clouds, and the errors that they reveal."""

import numpy as np
from jaxtyping import Float

from experiments.benchmarks.exactness.clouds import Clouds
from experiments.benchmarks.exactness.methods import Outputs

ROUNDINGS = 8
"""Roundings of the coordinates that an error may have: far from the origin they are large."""


def rounding(clouds: Clouds, dtype: str) -> Float[np.ndarray, " clouds"]:
    """The error that rounding of the coordinates may make: it grows with their distance from 0."""
    far = np.max(np.abs(clouds.points), axis=(1, 2), where=clouds.mask[..., None], initial=0)
    return ROUNDINGS * float(np.finfo(dtype).eps) * far / clouds.sizes


def relative_error(
    value: Float[np.ndarray, "clouds *any"],
    expected: Float[np.ndarray, "clouds *any"],
    floor: Float[np.ndarray, " clouds"],
) -> Float[np.ndarray, " clouds"]:
    """The largest error over the largest component, or over `floor` if that is larger."""
    axes = tuple(range(1, value.ndim))
    size = np.maximum(np.max(np.abs(expected), axis=axes), floor)
    return np.max(np.abs(value - expected), axis=axes) / np.where(size > 0, size, 1)


def move(
    clouds: Clouds, rng: np.random.Generator, mirror: bool
) -> tuple[Clouds, Float[np.ndarray, "clouds 3 3"]]:
    """Clouds turned, or turned and mirrored, and shifted, padding too; and the matrices."""
    count = len(clouds.points)
    linear, _ = np.linalg.qr(rng.normal(size=(count, 3, 3)))
    linear *= ((-1.0 if mirror else 1.0) * np.linalg.det(linear))[:, None, None]
    shift = rng.normal(size=(count, 1, 3)) * clouds.units[:, None, None]
    return clouds._replace(points=turn(linear, clouds.points) + shift), linear


def turn(
    linear: Float[np.ndarray, "clouds 3 3"], leaf: Float[np.ndarray, "clouds *any"], rank: int = 1
) -> Float[np.ndarray, "clouds *any"]:
    """Vectors, or tensors of rank 2, turned; numbers stay."""
    if leaf.ndim == 1:
        return leaf
    once = leaf @ np.swapaxes(linear, 1, 2)
    return linear @ once if rank == 2 else once


def reorder(
    clouds: Clouds, expected: Outputs, rng: np.random.Generator
) -> tuple[Clouds, dict[str, np.ndarray]]:
    """Clouds in another order, padding among the points, and the outputs to expect for them."""
    order = np.argsort(rng.uniform(size=clouds.mask.shape), axis=1)
    rows = np.arange(len(order))[:, None]
    leaves = {name: getattr(clouds, name)[rows, order] for name in ("points", "mask", "species")}
    outputs = {
        name: leaf if leaf.ndim == 1 else leaf[rows, order] for name, leaf in expected.items()
    }
    return clouds._replace(**leaves), outputs
