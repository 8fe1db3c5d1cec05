"""The options that robust frames of clouds and of nodes share, and their checks."""

from typing import Literal, NamedTuple, get_args

from symjax_frames import groups
from symjax_frames._checks import check_positive, is_integer
from symjax_frames.groups import Group

RobustGroup = Literal["O", "SO", "E", "SE"]
"""The group a robust frame is for."""

Closure = Literal["signs", "octahedral"]
"""The group averaged over where a flat cloud leaves axes open: signs, or signed permutations."""

CHOICES = 12
"""Choices of each axis that fit by default: the vertices of an icosahedron."""

_PAIRS = 48
"""Bases that fit by default: as many as a cube has symmetries, and twice as many as it needs."""

_STEEPEST = 0.999
"""The largest threshold: the step from there to 1 must be wide against rounding."""


class RobustOptions(NamedTuple):
    """Checked options of `make_bases`.

    Attributes:
      closure: the group of the signs, or signed permutations, that a flat cloud leaves open.
      capacity: the number of points kept as choices for each axis but the last.
      max_elements: the number of bases kept.
    """

    closure: Group
    capacity: tuple[int, ...]
    max_elements: int


def check_options(
    count: int,
    dim: int,
    group: str,
    capacity: tuple[int, ...] | None,
    max_elements: int | None,
    threshold: float,
    closure: str,
) -> RobustOptions:
    """The options of a robust frame of `count` points in 2 or 3 dimensions, with their defaults.

    Raises:
      ValueError: if one of them is not what `robust_frame` asks for.
    """
    if group not in get_args(RobustGroup):
        raise ValueError(f"group must be one of {', '.join(get_args(RobustGroup))}, got {group!r}")
    if closure not in get_args(Closure):
        raise ValueError(f"closure must be one of {', '.join(get_args(Closure))}, got {closure!r}")
    if not isinstance(threshold, int | float) or not 0 < threshold <= _STEEPEST:
        raise ValueError(
            f"threshold must be a number above 0 and at most {_STEEPEST}, got {threshold!r}"
        )
    if capacity is None:
        capacity = (CHOICES,) * (dim - 1)
    if not isinstance(capacity, tuple | list) or len(capacity) != dim - 1:
        raise ValueError(
            f"capacity must be {dim - 1} integer(s), one for each axis but the last, got {capacity!r}"
        )
    choices = [check_positive(f"capacity[{axis}]", number) for axis, number in enumerate(capacity)]
    proper = group in ("SO", "SE")
    if max_elements is None:
        max_elements = _PAIRS if proper else 2 * _PAIRS
    max_elements = check_positive("max_elements", max_elements)
    make = groups.signs if closure == "signs" else groups.signed_permutations
    # No axis has more choices than there are points, if their number is known.
    capacity = tuple(min(number, count) if is_integer(count) else number for number in choices)
    return RobustOptions(make(dim, proper=proper), capacity, max_elements)
