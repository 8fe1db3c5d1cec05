"""The groups that a frame of a cloud may be for, and the check of their names."""

from typing import Literal, get_args

from jaxtyping import Array

from symjax_frames._checks import is_integer

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
