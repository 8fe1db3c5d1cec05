"""The options that a `functools.partial` of a frame of the library binds."""

import functools
from typing import Any

from symjax_frames.frames._canonical import canonical_frame
from symjax_frames.frames._pca import pca_frame
from symjax_frames.frames._robust import robust_frame


def bound_options(frame: Any) -> tuple[Any, dict[str, Any]]:
    """The function that a partial binds options of, and these options; else the frame, and none.

    Raises:
      ValueError: if a mask is bound of `robust_frame`, `canonical_frame` or `pca_frame`.
    """
    function, options = frame, {}
    if isinstance(frame, functools.partial) and not frame.args:
        function, options = frame.func, dict(frame.keywords)
    if function in (robust_frame, canonical_frame, pca_frame) and "mask" in options:
        raise ValueError("frame must not bind a mask, which is an argument of its own here")
    return function, options


def without(options: dict[str, Any], *names: str) -> dict[str, Any]:
    """The options but those named."""
    return {name: value for name, value in options.items() if name not in names}
