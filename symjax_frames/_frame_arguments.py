"""The frame of the arguments that an option selects."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from symjax_frames._checks import check_callable, is_integer
from symjax_frames._padding import could_take_mask, warn_of_padding
from symjax_frames._types import Frame
from symjax_frames.groups import QuadratureRule


def frame_of_arguments(
    name: str, frame: Callable[..., Frame] | QuadratureRule, frame_argnums: int | Sequence[int]
) -> Callable[[tuple, dict], Frame]:
    """The frame of `(args, kwargs)`, made of the arguments that `frame_argnums` selects."""
    argnums = _check_argnums(frame_argnums)
    if isinstance(frame, QuadratureRule):
        return lambda args, kwargs: frame
    check_callable(name, frame)
    lacks_mask = len(argnums) == 1 and could_take_mask(frame)

    def select(args: tuple, kwargs: dict) -> Any:
        selected = _select(args, argnums)
        if lacks_mask:
            others = [arg for index, arg in enumerate(args) if index not in argnums]
            warn_of_padding(selected[0], (others, kwargs))
        return frame(*selected)

    return select


def _check_argnums(argnums: int | Sequence[int]) -> tuple[int, ...]:
    selected = tuple(argnums) if isinstance(argnums, Sequence | np.ndarray) else (argnums,)
    if not all(is_integer(index) and index >= 0 for index in selected):
        raise ValueError(f"frame_argnums must be non-negative integers, got {argnums!r}")
    return tuple(int(index) for index in selected)


def _select(args: tuple, argnums: tuple[int, ...]) -> list[Any]:
    if any(index >= len(args) for index in argnums):
        raise ValueError(
            f"frame_argnums={argnums} selects an argument beyond the {len(args)} positional ones; "
            "the arguments of the frame cannot be given by keyword"
        )
    return [args[index] for index in argnums]
