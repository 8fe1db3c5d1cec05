"""The groups that a frame of a cloud may be for, and checks of their names and of packed clouds."""

from typing import Literal, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array

from symjax_frames._checks import (
    check_cloud,
    check_positive,
    check_segments,
    describe,
    is_integer,
)

GroupName = Literal["T", "O", "SO", "E", "SE"]
"""The group of a frame: translations, O or SO about the origin, E or SE about the centroid."""


def check_group_name(group: str, points: Array) -> None:
    """Raises unless `group` is a `GroupName` and `points` are enough to have principal axes."""
    if group not in get_args(GroupName):
        raise ValueError(f"group must be one of {', '.join(get_args(GroupName))}, got {group!r}")
    count, dim = points.shape
    # A number of points that `jax.export` keeps open is taken to be large enough.
    if group != "T" and dim > 3 and is_integer(count) and dim > count:
        raise ValueError(
            f"points of shape {points.shape} are {count} points in {dim} dimensions, too few to have "
            "principal axes; one point per row is expected, is the array transposed?"
        )


def check_packed(points: Array, segment_ids: Array, num_segments: int, mask: Array | None) -> int:
    """The number of graphs; raises unless points, segments and mask are those of a packed batch."""
    check_cloud(points, mask)
    symbolic = jax.export.is_symbolic_dim(num_segments)
    if not symbolic:
        num_segments = check_positive("num_segments", num_segments)
    shape = getattr(segment_ids, "shape", None)
    if shape != points.shape[:1] or not jnp.issubdtype(segment_ids.dtype, jnp.integer):
        raise ValueError(
            f"segment_ids must be integers of shape {points.shape[:1]}, one for each node, got "
            f"{describe(segment_ids)}"
        )
    check_segments("segment_ids", segment_ids, num_segments)
    return num_segments
