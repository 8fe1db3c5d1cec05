"""Static checks of arguments. Each raises one ValueError that names the argument."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from symjax_frames._types import Frame


def is_integer(value: object) -> bool:
    """Whether `value` is an integer of Python or NumPy; a boolean is none."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def check_positive(name: str, value: int) -> int:
    """The integer of Python, from one of NumPy too; raises unless it is at least 1."""
    if not is_integer(value) or value < 1:
        raise ValueError(f"{name} must be a positive integer, got {value!r}")
    return int(value)


def check_natural(name: str, value: int) -> int:
    """The integer of Python, from one of NumPy too; raises unless it is at least 0."""
    if not is_integer(value) or value < 0:
        raise ValueError(f"{name} must be a non-negative integer, got {value!r}")
    return int(value)


def concrete(value: Any) -> np.ndarray | None:
    """The values of an array that has them here: not while it is traced, nor on other machines."""
    if isinstance(value, jax.core.Tracer) or not getattr(value, "is_fully_addressable", True):
        return None
    return np.asarray(value)


def holds(wide: Any, narrow: Any) -> bool:
    """Whether `wide` is a floating dtype that has every value of the floating dtype `narrow`."""
    if not all(jnp.issubdtype(dtype, jnp.floating) for dtype in (wide, narrow)):
        return False
    with jax.numpy_dtype_promotion("standard"):
        return jnp.promote_types(wide, narrow) == wide


def check_segments(name: str, segment_ids: Array, num_segments: int) -> None:
    """Raises if the values are known and more than one of them names no segment: one is padding."""
    values = concrete(segment_ids)
    if values is None or not is_integer(num_segments):
        return
    outside = np.unique(values[(values < 0) | (values >= num_segments)])
    if len(outside) > 1:
        raise ValueError(
            f"{name} must be from 0 to {num_segments - 1}, with one other value for padding, got "
            f"{', '.join(map(str, outside[:4]))}"
        )


def check_cloud(points: Array, mask: Array | None) -> None:
    """Raises unless `points` is a floating `(points, dim)` array and `mask` fits it."""
    if not hasattr(points, "ndim") or points.ndim != 2:
        raise ValueError(
            "points must be one cloud of shape (points, dim), one point per row, got "
            f"{describe(points)}; use jax.vmap for a batch of clouds"
        )
    count, dim = points.shape
    if count == 0 or dim == 0:
        raise ValueError(f"points must hold at least one point and one axis, got {points.shape}")
    if not jnp.issubdtype(points.dtype, jnp.floating):
        raise ValueError(
            f"points must be floating, got {points.dtype}; convert with points.astype(float)"
        )
    if mask is None:
        return
    if not hasattr(mask, "shape") or mask.shape != (count,) or mask.dtype != bool:
        raise ValueError(
            f"mask must be boolean of shape ({count},), one entry for each of the {count} points, "
            f"got {describe(mask)}"
        )


def check_callable(name: str, frame: object) -> None:
    """Raises unless `frame` is a function that can return a frame, and not a frame or a group."""
    if callable(frame):
        return
    advice = "groups go to group_average and sampled_average"
    if isinstance(frame, Frame):
        advice = "the frame of one input is not that of another; give the function that makes it"
    raise ValueError(
        f"{name} must be a function that returns a Frame, such as pca_frame, or a rule that quadrature "
        f"made, got {type(frame).__name__} {frame!r:.60}; {advice}"
    )


def check_key(name: str, key: object) -> None:
    """Raises unless `key` is one PRNG key of JAX, of the new kind or the old."""
    dtype = getattr(key, "dtype", None)
    typed = dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key)
    if not typed and not (dtype == jnp.uint32 and getattr(key, "ndim", None) == 1):
        raise ValueError(f"{name} must be a PRNG key, got {describe(key)}")


def repr_or_call_hint(value: object, kind: str) -> str:
    """What to say of a value that is no `kind`: its `repr`, or to call it if it is a function."""
    maker = getattr(value, "__name__", "")
    if callable(value) and maker:
        return f"the function {maker}; call it, as {maker}(...), if it makes {kind}"
    return repr(value)


def describe(value: object) -> str:
    """The shape and dtype of an array, or the type of anything else, for messages."""
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"shape {value.shape} of dtype {value.dtype}"
    return f"{type(value).__name__}"
