"""A warning for clouds whose padding takes part in their frame."""

import inspect
import warnings
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from symjax_frames._checks import concrete


def could_take_mask(frame: Callable[..., Any]) -> bool:
    """Whether `frame`, called with points alone, has a parameter `mask` that it was not given."""
    try:
        parameters = inspect.signature(frame).parameters
    except (TypeError, ValueError):
        return False
    return "mask" in parameters and parameters["mask"].default is None


def warn_of_padding(points: Any, others: PyTree) -> None:
    """Warns if an array among `others` looks like the mask of `points`.

    It has to be boolean with one entry for each point, and the rows where it is `False` are all the
    same: two rows or more, or one that is zero. Points of a real cloud do not coincide, so a choice
    of some of them is not taken for a mask. Nothing is seen while values are traced.
    """
    cloud = None
    for leaf in jax.tree.leaves(others):
        if getattr(leaf, "dtype", None) != np.dtype(bool) or leaf.shape != np.shape(points)[:1]:
            continue
        mask = concrete(leaf)
        cloud = concrete(points) if cloud is None else cloud
        if mask is None or cloud is None or mask.all() or not mask.any():
            continue
        rows = cloud[~mask]
        if (rows == rows[0]).all() and (len(rows) > 1 or not rows.any()):
            warnings.warn(
                f"{len(rows)} of {len(cloud)} points look like padding, which a boolean argument marks "
                "as False, but the frame is not given that argument, and so is made of the padding "
                "too; select both by frame_argnums, as frame_argnums=(0, 1)",
                stacklevel=3,
            )
            return
