"""The colours, the style and the checks that all pictures share."""

import os
from collections.abc import Callable
from functools import wraps
from typing import Any

import matplotlib
import numpy as np

Path = str | os.PathLike[str]

INK, FAINT = "#333333", "#b5b5b5"
TRAIN, VALID = "#7f7f7f", "#0b6e4f"
POSITIVE, NEGATIVE, NEUTRAL = "#c8401f", "#1f5fa8", "#777777"
AXES = ("#0b6e4f", "#d08700", "#7b3fa0")
STYLE = {
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.5,
    "savefig.dpi": 150,
    "savefig.bbox": "tight",
}


def styled[**P](draw: Callable[P, None]) -> Callable[P, None]:
    """The drawing function under the style of the reports, whatever the caller's own is."""

    @wraps(draw)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        with matplotlib.rc_context(STYLE):
            draw(*args, **kwargs)

    return wrapped


def checked(name: str, array: Any, shape: tuple[int | None, ...]) -> np.ndarray:
    """The array in float64, once its shape is right (`None`: any length) and its values finite."""
    array = np.asarray(array, dtype=np.float64)
    matches = len(array.shape) == len(shape) and all(
        wanted in (None, received) for wanted, received in zip(shape, array.shape, strict=True)
    )
    if not matches:
        allowed = "(" + ", ".join("any" if n is None else str(n) for n in shape) + ")"
        raise ValueError(f"{name} must have shape {allowed}, got {array.shape}")
    if not np.all(finite := np.isfinite(array)):
        raise ValueError(f"{name} must be finite, got {array[~finite].flat[0]}")
    return array
