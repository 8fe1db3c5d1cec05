"""Centroids and covariances of clouds, whole or packed, and the lengths that rounding makes."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from symjax_frames._matrices import at_least_float32
from symjax_frames._unrolled import copies, largest, settled, total
from symjax_frames.frames._checks import GroupName
from symjax_frames.linalg import power_of_two


class Moments(NamedTuple):
    """The first two moments of clouds, one of each for every graph of a packed batch.

    Attributes:
      centroid: the mean of the points; zero for O and SO, which leave the origin in place.
      covariance: `arms^T arms` of each cloud.
      arms: the centred points over `scale`, zero for padding.
      scale: the power of two that gives the arms of each cloud a size of order one.
    """

    centroid: Float[Array, "*graphs dim"]
    covariance: Float[Array, "*graphs dim dim"]
    arms: Float[Array, "points dim"]
    scale: Float[Array, "*graphs"]


class Reduction(NamedTuple):
    """Which rows make a cloud: how values of rows become one of the cloud, and back.

    Attributes:
      total: the sum of the rows of each cloud.
      largest: their maximum.
      spread: the value of its cloud for each row.
    """

    total: Callable[[Array], Array]
    largest: Callable[[Array], Array]
    spread: Callable[[Array], Array]


def one_cloud(count: int) -> Reduction:
    """All of `count` rows are one cloud."""
    return Reduction(
        total=lambda rows: total(rows, 0),
        largest=lambda rows: largest(rows, 0),
        spread=lambda value: copies(value, count, 0),
    )


def by_segment(segment_ids: Int[Array, " nodes"], num_segments: int) -> Reduction:
    """The rows with the same entry of `segment_ids` are one cloud."""
    return Reduction(
        total=lambda rows: jax.ops.segment_sum(rows, segment_ids, num_segments),
        # The maximum of no rows is -inf, and of lengths at least zero otherwise.
        largest=lambda rows: jnp.maximum(jax.ops.segment_max(rows, segment_ids, num_segments), 0),
        spread=lambda value: value[segment_ids],
    )


def moments_of(
    points: Float[Array, "points dim"],
    mask: Array | None,
    group: GroupName,
    clouds: Reduction | None = None,
) -> Moments:
    """The moments of one cloud, or of all clouds of a packed batch, without the padding.

    They have at least 32 bits: frames of coordinates of 16 bits are as exact as those of others.
    """
    points = at_least_float32(points)
    num_points, dim = points.shape
    clouds = one_cloud(num_points) if clouds is None else clouds
    real = jnp.ones(points.shape[:1], bool) if mask is None else mask
    row = real[:, None]
    count = jnp.maximum(clouds.total(real.astype(points.dtype)), 1)
    kept = jnp.where(row, points, 0)
    centroid = clouds.total(kept / clouds.spread(count)[:, None])
    if group in ("O", "SO"):
        centroid = jnp.zeros_like(centroid)
    centroid = settled(centroid)
    arms = jnp.where(row, points - clouds.spread(centroid), 0)
    # The axes do not depend on the size of the cloud; its square could overflow.
    scale = power_of_two(largest(clouds.largest(jnp.abs(jax.lax.stop_gradient(arms))), -1))
    arms = arms / clouds.spread(scale)[:, None]
    covariance = settled(clouds.total(copies(arms, dim, 2) * copies(arms, dim, 1)))
    return Moments(centroid, covariance, arms, scale)


def rounding_floor(given: Any, computed: Any, far: Float[Array, ""]) -> Float[Array, ""]:
    """The length below which an arm is rounding, for a cloud of size 3 to 10.

    Args:
      given: the dtype of the coordinates, which are rounded to it.
      computed: the dtype that is computed in.
      far: the largest coordinate, in the unit of the arms.
    """
    return 512 * float(jnp.finfo(computed).eps) + 4 * float(jnp.finfo(given).eps) * far
