"""Static checks of arguments. Each raises one ValueError that names the argument."""

import jax
import jax.numpy as jnp
from jaxtyping import Array


def check_positive(name: str, value: int) -> None:
    """Raises unless `value` is an integer of at least 1."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} must be a positive integer, got {value!r}")


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
    if not callable(frame):
        raise ValueError(
            f"{name} must be a function that returns a Frame, such as pca_frame, got "
            f"{type(frame).__name__} {frame!r:.60}; groups go to group_average and sampled_average"
        )


def check_key(name: str, key: object) -> None:
    """Raises unless `key` is one PRNG key of JAX, of the new kind or the old."""
    dtype = getattr(key, "dtype", None)
    typed = dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key)
    if not typed and not (dtype == jnp.uint32 and getattr(key, "ndim", None) == 1):
        raise ValueError(f"{name} must be a PRNG key, got {describe(key)}")


def describe(value: object) -> str:
    """The shape and dtype of an array, or the type of anything else, for messages."""
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"shape {value.shape} of dtype {value.dtype}"
    return f"{type(value).__name__}"
