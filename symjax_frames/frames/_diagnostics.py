"""How well a frame fits its input: elements used, weight dropped, distance from a failure."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PyTree

from symjax_frames._checks import check_callable
from symjax_frames._sharding import on_own_mesh
from symjax_frames._types import Frame
from symjax_frames.frames._bound import bound_options, without
from symjax_frames.frames._canonical import canonical_frame, canonical_margin
from symjax_frames.frames._overflow import rounding_of
from symjax_frames.frames._pca import pca_frame, spectral_gap
from symjax_frames.frames._robust import robust_bases, robust_frame
from symjax_frames.groups import QuadratureRule


class FrameDiagnostics(NamedTuple):
    """What `frame_diagnostics` returns: scalars, or of a packed frame one number for each graph.

    Attributes:
      num_elements: the elements with a nonzero weight; of a robust frame before `max_elements`
        drops any, counted of the choices that fit into `capacity`.
      dropped: the share of the weight that did not fit into `capacity` and `max_elements`, up to
        rounding; `None` for a function of your own, of which only what it returns is known.
      margin: how far the cloud is from one where the frame is not valid, between 0 and 1: for a PCA
        frame the `spectral_gap`, for a canonical frame without `sharpness` the `canonical_margin`,
        for one with it the `spectral_gap`. It is 1 for a robust frame, which always is valid, and
        `None` for a function of your own.
      total_weight: the sum of the weights, which is to be 1. It is NaN where a robust frame
        overflows with `on_overflow="nan"`.
      num_choices: the points with a nonzero weight for each axis but the last, as many as `capacity`
        has to hold, of a robust frame; `None` for others.
    """

    num_elements: Int[Array, "*graphs"]
    dropped: Float[Array, ""] | None
    margin: Float[Array, ""] | None
    total_weight: Float[Array, "*graphs"]
    num_choices: Int[Array, " axes"] | None = None


@on_own_mesh
def frame_diagnostics(
    frame: Callable[..., Frame] | QuadratureRule,
    points: PyTree[Array],
    mask: Bool[Array, " points"] | None = None,
) -> FrameDiagnostics:
    """How well a frame fits an input; a pure function, which may be jitted and vmapped.

    Example:
      >>> import functools, jax, jax.numpy as jnp, symjax_frames as sf
      >>> square = jnp.array([[x, y] for x in (-1.0, 1) for y in (-1.0, 1)])
      >>> tight = functools.partial(sf.robust_frame, max_elements=4)
      >>> diagnose = jax.jit(sf.frame_diagnostics, static_argnums=0)
      >>> fit = diagnose(tight, square)
      >>> int(fit.num_elements), round(float(fit.dropped), 6), float(fit.margin)
      (8, 0.5, 1.0)
      >>> bool(diagnose(sf.pca_frame, square).margin < 1e-5)
      True
      >>> halves = lambda points: sf.pca_frame(points)._replace(weights=jnp.ones(4) / 8)
      >>> float(diagnose(halves, square).total_weight)  # not the weights of a frame
      0.5

    Args:
      frame: any function that returns a `Frame`. Of `robust_frame`, `canonical_frame` and
        `pca_frame`, also as a `functools.partial`, more is known than of others.
      points: the cloud, or whatever the function takes first.
      mask: `True` for real points; handed to the function if it is given.

    Returns:
      What is known of the frame; `None` for what is not.

    Raises:
      ValueError: if `frame` is no function or returns no `Frame`, and as the frame itself.
    """
    function, options = bound_options(frame)
    if function is robust_frame:
        # For its own errors, if an option is wrong.
        jax.eval_shape(functools.partial(function, **options), points, mask)
        bases, _ = robust_bases(points, mask, **without(options, "detach", "on_overflow"))
        total = jnp.sum(bases.weights)
        if options.get("on_overflow") == "nan":
            total = jnp.where(bases.dropped > rounding_of(bases.dropped.dtype), jnp.nan, total)
        *choices, elements = bases.needed
        return FrameDiagnostics(
            elements, bases.dropped, jnp.ones_like(bases.dropped), total, jnp.stack(choices)
        )
    weights = _weights(frame, points, mask)
    known = jnp.sum(weights != 0, axis=0), jnp.sum(weights, axis=0)
    if function not in (canonical_frame, pca_frame):
        return FrameDiagnostics(known[0], None, None, known[1])
    group = without(options, "detach", "sharpness")
    one_element = function is canonical_frame and options.get("sharpness") is None
    margin = (canonical_margin if one_element else spectral_gap)(points, mask, **group)
    return FrameDiagnostics(known[0], jnp.zeros_like(known[1]), margin, known[1])


def _weights(
    frame: Callable[..., Frame] | QuadratureRule, points: PyTree[Array], mask: Array | None
) -> Float[Array, "frame *graphs"]:
    if isinstance(frame, QuadratureRule):
        return frame.weights
    check_callable("frame", frame)
    made = frame(points) if mask is None else frame(points, mask)
    if not isinstance(made, Frame):
        raise ValueError(f"frame must return a Frame, got {type(made).__name__}")
    return made.weights
