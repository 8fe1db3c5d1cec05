"""Positions about the mean of the atoms."""

from typing import Any

import numpy as np
from jaxtyping import Array, Bool, Float


def centred[Positions: (np.ndarray, Array)](
    positions: Float[Positions, "*molecules atoms 3"],
    real: Bool[Positions, "*molecules atoms"] | None = None,
) -> Float[Positions, "*molecules atoms 3"]:
    """Positions from the mean of the real atoms; padding is at zero.

    Far from the origin, rounding to single precision costs digits; about the mean it does not.

    Args:
      positions: an array of NumPy or of JAX, with any leading axes.
      real: which atoms are no padding; all are by default.

    Returns:
      An array of the same library, shape and dtype.
    """
    library: Any = positions.__array_namespace__()
    if real is None:
        return positions - library.mean(positions, axis=-2, keepdims=True)
    column = real[..., None]
    positions = library.where(column, positions, 0)
    # A molecule of padding alone has no mean; its positions are zeros, whatever is subtracted.
    count = library.maximum(library.sum(column, axis=-2, keepdims=True), 1)
    mean = library.sum(positions, axis=-2, keepdims=True) / count.astype(positions.dtype)
    return library.where(column, positions - mean, 0)
