"""Static checks shared by the public functions: each raises one ValueError that names the argument."""

import jax.numpy as jnp
from jaxtyping import Array


def check_positive(name: str, value: int) -> None:
    """Raises unless `value` is an integer of at least 1."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} must be a positive integer, got {value!r}")


def check_dim(dim: int) -> None:
    """Raises unless `dim` is a positive integer."""
    check_positive("dim", dim)


def check_cloud(points: Array, mask: Array | None) -> None:
    """Raises unless `points` is a floating `(points, dim)` array and `mask` fits it."""
    if not hasattr(points, "ndim") or points.ndim != 2:
        raise ValueError(
            "points must be one cloud of shape (points, dim), one point a row, got "
            f"{_describe(points)}; use jax.vmap for a batch of clouds"
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
            f"got {_describe(mask)}"
        )


def _describe(value: object) -> str:
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"shape {value.shape} of dtype {value.dtype}"
    return f"{type(value).__name__}"
