"""The room that a robust frame needs for a data set, found at a bounded cost."""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Real

from symjax_frames._checks import check_positive, describe
from symjax_frames._sharding import whole
from symjax_frames._types import Frame
from symjax_frames.frames._bound import bound_options, without
from symjax_frames.frames._robust import robust_bases, robust_frame
from symjax_frames.frames._robust_options import CHOICES

_ENTRIES = 2**20
"""Numbers that one array of the count may have about."""
_AT_A_TIME = 64
"""Clouds counted at once, at most."""
_CLOSURE = 48
"""Elements of the largest closure."""


class FrameCapacity(NamedTuple):
    """What `frame_capacity` returns: options of `robust_frame`, by `_asdict()`.

    Attributes:
      capacity: the choices for each axis but the last.
      max_elements: the elements in all.
    """

    capacity: tuple[int, ...]
    max_elements: int


def frame_capacity(
    frame: Callable[..., Frame],
    points: Float[Array, "batch points dim"],
    mask: Bool[Array, "batch points"] | None = None,
    *,
    attributes: Real[Array, "batch points"] | None = None,
    most: int = 4096,
) -> FrameCapacity:
    """The smallest capacities of a robust frame that drop nothing of any cloud of a data set.

    One cloud decides, the one that needs most. Most clouds may need far less: batches of clouds
    that need about as many elements are cheaper.

    Clouds that are not in the data set may need a little more: `frame_diagnostics` tells. The
    result is made of Python integers, so this function cannot be jitted.

    Example:
      >>> import functools, jax, symjax_frames as sf
      >>> clouds = jax.random.normal(jax.random.key(0), (100, 9, 2))
      >>> needed = sf.frame_capacity(sf.robust_frame, clouds)
      >>> frame = functools.partial(sf.robust_frame, **needed._asdict())
      >>> dropped = jax.jit(jax.vmap(lambda cloud: sf.frame_diagnostics(frame, cloud).dropped))
      >>> float(dropped(clouds).max())
      0.0

    Args:
      frame: `robust_frame`, or a `functools.partial` of it; its own capacities are ignored.
      points: the clouds, padded to one number of points.
      mask: `True` for real points.
      attributes: those of the points of each cloud, if the frame takes them.
      most: how many elements a cloud may need. The time and the memory of the count depend on it.

    Returns:
      The capacities, options of `robust_frame`.

    Raises:
      ValueError: if a cloud needs more than `most` elements, which the message names; if `frame` is
        another function, `points` are no batch, `most` is no positive integer, and as
        `robust_frame`.
    """
    function, options = bound_options(frame)
    if function is not robust_frame:
        name = getattr(function, "__name__", repr(function)[:60])
        raise ValueError(
            f"frame must be robust_frame or a partial of it, got {name}: other frames of the library "
            "have as many elements for every cloud"
        )
    if getattr(points, "ndim", None) != 3 or len(points) == 0:
        raise ValueError(
            "points must be a batch of clouds of shape (batch, points, dim) with at least one, got "
            f"{describe(points)}"
        )
    for name, value in (("mask", mask), ("attributes", attributes)):
        if value is not None and getattr(value, "shape", None) != points.shape[:2]:
            raise ValueError(
                f"{name} must be of shape {points.shape[:2]}, one entry for each point of each cloud, "
                f"got {describe(value)}"
            )
    most = check_positive("most", most)
    points, mask, attributes = whole((points, mask, attributes))
    bound = options.get("attributes")
    if attributes is None and bound is not None:
        attributes = jnp.broadcast_to(bound, points.shape[:2])
    jax.eval_shape(frame, points[0], None if mask is None else mask[0])  # for its own errors
    options = without(
        options, "detach", "on_overflow", "max_elements", "capacity", "attributes", "mask"
    )

    dim = points.shape[2]
    # As many as the default room, which most data sets fit into: then one count is enough.
    capacity = (CHOICES,) * (dim - 1)
    while True:
        needed = np.asarray(
            _count(points, mask, attributes, capacity, tuple(sorted(options.items())))
        )
        # Every choice of the first axis is an element, and so is every other one of the second
        # after the same first.
        choices = needed[:, :-1]
        least = np.maximum(needed[:, -1], np.sum(choices, axis=1) - (dim - 2))
        if least.max() > most:
            raise ValueError(_refusal(least, most, options))
        wanted = np.maximum(choices.max(axis=0), 1).tolist()
        if all(want <= kept for want, kept in zip(wanted, capacity, strict=True)):
            return FrameCapacity(tuple(wanted), int(needed[:, -1].max()))
        # Where very many tie, a part of them has more than `most` elements already.
        part = round(most ** (1 / (dim - 1)))
        capacity = tuple(
            min(want, max(part, 4 * kept)) for want, kept in zip(wanted, capacity, strict=True)
        )


@functools.partial(jax.jit, static_argnames=("capacity", "options"))
def _count(
    points: Float[Array, "batch points dim"],
    mask: Bool[Array, "batch points"] | None,
    attributes: Real[Array, "batch points"] | None,
    capacity: tuple[int, ...],
    options: tuple[tuple[str, Any], ...],
) -> Int[Array, "batch dim"]:
    """How many choices of each axis have a weight, and elements of the choices that are kept.

    The number of choices of an axis is right if all choices of the axes before it are kept, and too
    small otherwise, as is that of the elements.
    """

    def needed(data: tuple[Array, Array | None, Array | None]) -> Int[Array, " dim"]:
        cloud, real, numbers = data
        bases, _ = robust_bases(
            cloud, real, attributes=numbers, capacity=capacity, max_elements=1, **dict(options)
        )
        return bases.needed

    count = points.shape[1]
    entries = count * max(count, capacity[0]) + _CLOSURE * math.prod(capacity)
    at_a_time = min(max(_ENTRIES // entries, 1), _AT_A_TIME)
    return jax.lax.map(needed, (points, mask, attributes), batch_size=at_a_time)


def _refusal(least: Int[np.ndarray, " batch"], most: int, options: dict[str, Any]) -> str:
    index = int(least.argmax())
    others = int(np.sum(least > most)) - 1
    more = f", and {others} other clouds more than most={most} too" if others else f", most={most}"
    threshold = options.get("threshold", 0.9)
    return (
        f"points[{index}] needs at least {least[index]} elements{more}: so many of its points tie "
        "that it has no robust frame at an affordable cost. Tell points apart by attributes or by a "
        f"higher threshold, got {threshold}; or take pca_frame if its spectral_gap is not small, "
        "local_frames of its neighbourhoods, the scored_frame of a finite group, or sampled_average "
        "over a group"
    )
