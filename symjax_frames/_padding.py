"""Warnings of padding that takes part in a frame, and of points that are taken for padding."""

import inspect
import os
import warnings
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, PyTree

from symjax_frames._checks import concrete

LIBRARY = (os.path.join(os.path.dirname(__file__), ""),)
"""Where the files of the library are: who is to read a warning called it, at whatever depth."""


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
    cloud, rows = None, getattr(points, "shape", ())[:1]
    for leaf in jax.tree.leaves(others):
        fits = rows and getattr(leaf, "shape", ()) == rows
        if not fits or getattr(leaf, "dtype", None) != np.dtype(bool):
            continue
        mask = concrete(leaf)
        cloud = concrete(points) if cloud is None else cloud
        if mask is None or cloud is None or mask.all() or not mask.any():
            continue
        hidden = cloud[~mask]
        if (hidden == hidden[0]).all() and (len(hidden) > 1 or not hidden.any()):
            warnings.warn(
                f"{len(hidden)} of {len(cloud)} points look like padding, which a boolean argument "
                "marks as False, but the frame is not given that argument, and is made of the padding "
                "too; select both by frame_argnums, as frame_argnums=(0, 1)",
                stacklevel=4,
            )
            return


def warn_of_strays(
    points: Array, segment_ids: Array, num_segments: int, mask: Array | None
) -> None:
    """Warns if nodes that are in no graph differ from each other, as padding does not."""
    ids, cloud = concrete(segment_ids), concrete(points)
    real = np.True_ if mask is None else concrete(mask)
    if ids is None or cloud is None or real is None:
        return
    rows = cloud[real & ((ids < 0) | (ids >= num_segments))]
    if len(rows) > 1 and (rows != rows[0]).any():
        warnings.warn(
            f"{len(rows)} nodes are in none of the num_segments={num_segments} graphs, which have "
            f"segment_ids from 0 to {num_segments - 1}, though they do not look like padding",
            skip_file_prefixes=LIBRARY,
        )
