"""How well a frame fits its input: elements used, weight dropped, distance from a failure."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Real

from symjax_frames._checks import describe
from symjax_frames._types import Frame
from symjax_frames.frames._canonical import canonical_frame, canonical_margin
from symjax_frames.frames._pca import pca_frame, spectral_gap
from symjax_frames.frames._robust import robust_bases, robust_frame


class FrameDiagnostics(NamedTuple):
    """What `frame_diagnostics` returns.

    Attributes:
      num_elements: the elements with a nonzero weight, before `max_elements` drops any.
      dropped: the share of their weight that did not fit into `capacity` and `max_elements`, up to
        rounding.
      margin: how far the cloud is from one where the frame is not valid, between 0 and 1: for a PCA
        frame the `spectral_gap`, for a canonical frame without `sharpness` the `canonical_margin`,
        for one with it the `spectral_gap`. It is 1 for a robust frame, which always is valid.
    """

    num_elements: Int[Array, ""]
    dropped: Float[Array, ""]
    margin: Float[Array, ""]


class FrameCapacity(NamedTuple):
    """What `frame_capacity` returns: options of `robust_frame`, by `_asdict()`.

    Attributes:
      capacity: the choices for each axis but the last.
      max_elements: the elements in all.
    """

    capacity: tuple[int, ...]
    max_elements: int


def frame_diagnostics(
    frame: Callable[..., Frame],
    points: Float[Array, "points dim"],
    mask: Bool[Array, " points"] | None = None,
) -> FrameDiagnostics:
    """How well a frame fits a cloud; a pure function, which may be jitted and vmapped.

    Example:
      >>> import functools, jax, jax.numpy as jnp, symjax_frames as sf
      >>> cube = jnp.array([[x, y, z] for x in (-1.0, 1) for y in (-1.0, 1) for z in (-1.0, 1)])
      >>> tight = functools.partial(sf.robust_frame, max_elements=24)
      >>> diagnose = jax.jit(sf.frame_diagnostics, static_argnums=0)
      >>> fit = diagnose(tight, cube)
      >>> int(fit.num_elements), round(float(fit.dropped), 6), float(fit.margin)
      (48, 0.5, 1.0)
      >>> bool(diagnose(sf.pca_frame, cube).margin < 1e-5)
      True

    Args:
      frame: `robust_frame`, `canonical_frame` or `pca_frame`, or a `functools.partial` of one.
      points: as in the frame.
      mask: as in the frame.

    Returns:
      Scalars of the cloud.

    Raises:
      ValueError: if `frame` is another function, and as the frame itself.
    """
    function, options = _parts(frame)
    if function is robust_frame:
        jax.eval_shape(frame, points, mask)  # for its own errors, if an option is wrong
        bases, _ = robust_bases(points, mask, **_without(options, "detach"))
        return FrameDiagnostics(bases.needed[-1], bases.dropped, jnp.ones_like(bases.dropped))
    weights = frame(points, mask).weights
    group = _without(options, "detach", "sharpness")
    one_element = function is canonical_frame and options.get("sharpness") is None
    margin = (canonical_margin if one_element else spectral_gap)(points, mask, **group)
    return FrameDiagnostics(jnp.sum(weights > 0), jnp.zeros((), points.dtype), margin)


def frame_capacity(
    frame: Callable[..., Frame],
    points: Float[Array, "batch points dim"],
    mask: Bool[Array, "batch points"] | None = None,
    *,
    attributes: Real[Array, "batch points"] | None = None,
) -> FrameCapacity:
    """The smallest capacities of a robust frame that drop nothing of any cloud of a data set.

    One cloud decides, the one that needs most. Most clouds may need far less: batches of clouds
    that need about as many elements are cheaper.

    Clouds that are not in the data set may need a little more: `frame_diagnostics` tells. The
    result is made of Python integers, so this function cannot be jitted.

    Example:
      >>> import functools, jax, symjax_frames as sf
      >>> clouds = jax.random.normal(jax.random.key(0), (100, 9, 3))
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

    Returns:
      The capacities, options of `robust_frame`.

    Raises:
      ValueError: if `frame` is another function, `points` are no batch, and as `robust_frame`.
    """
    function, options = _parts(frame)
    if function is not robust_frame:
        raise ValueError(
            f"frame must be robust_frame or a partial of it, got {function.__name__}, which has as "
            "many elements for every cloud"
        )
    if getattr(points, "ndim", None) != 3 or len(points) == 0:
        raise ValueError(
            "points must be a batch of clouds of shape (batch, points, dim) with at least one, got "
            f"{describe(points)}"
        )
    count, dim = points.shape[1:]
    for name, value in (("mask", mask), ("attributes", attributes)):
        if value is not None and getattr(value, "shape", None) != points.shape[:2]:
            raise ValueError(
                f"{name} must be of shape {points.shape[:2]}, one entry for each point of each cloud, "
                f"got {describe(value)}"
            )
    bound = options.get("attributes")
    if attributes is None and bound is not None:
        attributes = jnp.broadcast_to(bound, points.shape[:2])
    jax.eval_shape(frame, points[0], None if mask is None else mask[0])  # for its own errors
    options = _without(options, "detach", "max_elements", "capacity", "attributes")

    def count_all(capacity: tuple[int, ...]) -> list[int]:
        def needed(data: tuple[Array, Array | None, Array | None]) -> Int[Array, " dim"]:
            cloud, real, numbers = data
            bases, _ = robust_bases(
                cloud, real, attributes=numbers, capacity=capacity, max_elements=1, **options
            )
            return bases.needed

        run = jax.jit(lambda *data: jnp.max(jax.lax.map(needed, data, batch_size=64), axis=0))
        return run(points, mask, attributes).tolist()

    # The number of choices of an axis is right once all choices of the axes before it are kept. One
    # choice of the axes after it is enough, and keeps the memory from growing as a power of the
    # points.
    capacity = (1,) * (dim - 1)
    for axis in range(dim - 1):
        choices = count_all(capacity)[axis]
        capacity = (*capacity[:axis], max(choices, 1), *capacity[axis + 1 :])
    return FrameCapacity(capacity, count_all(capacity)[-1])


def _parts(frame: Callable[..., Frame]) -> tuple[Callable[..., Frame], dict[str, Any]]:
    """The function that a partial binds options of, and these options."""
    function, options = frame, {}
    if isinstance(frame, functools.partial) and not frame.args:
        function, options = frame.func, dict(frame.keywords)
    if "mask" in options:
        raise ValueError("frame must not bind a mask, which is an argument of its own here")
    if function not in (robust_frame, canonical_frame, pca_frame):
        raise ValueError(
            "frame must be robust_frame, canonical_frame or pca_frame, or a functools.partial of one "
            f"with keywords only, got {frame!r:.80}"
        )
    return function, options


def _without(options: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name not in names}
