"""What becomes of the weight of a frame that its options have no room for: it is never silent."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from symjax_frames._checks import concrete
from symjax_frames.frames._gram_schmidt import Bases
from symjax_frames.frames._robust_options import RobustOptions

OnOverflow = Literal["drop", "nan"]
"""What becomes of dropped weight: those kept share it, or all weights of the frame are NaN."""

_PACKAGE = str(Path(__file__).parents[1])
_ROUNDINGS = 32
"""Machine epsilons that a sum of weights is off by: less is rounding, and not told of."""


class FrameOverflowWarning(UserWarning):
    """A frame has more elements than there is room for; the average over the rest is not exact.

    It is given where values are known: outside of `jax.jit` and `jax.vmap`. Inside,
    `frame_diagnostics` and `local_diagnostics` tell, and `on_overflow="nan"`.
    """


def check_on_overflow(on_overflow: str) -> None:
    """Raises unless it is an `OnOverflow`."""
    if on_overflow not in get_args(OnOverflow):
        allowed = " or ".join(map(repr, get_args(OnOverflow)))
        raise ValueError(f"on_overflow must be {allowed}, got {on_overflow!r}")


def is_lost(dropped: Float[Array, "*nodes"]) -> Bool[Array, "*nodes"]:
    """Whether more than rounding was dropped of the weight of a frame, or of those of nodes."""
    # Weights are made in float32 at least, and rounded to fewer digits afterwards.
    eps = min(float(jnp.finfo(dropped.dtype).eps), float(jnp.finfo(jnp.float32).eps))
    return dropped > _ROUNDINGS * eps


def robust_weights(
    bases: Bases, on_overflow: OnOverflow, room: Callable[[], RobustOptions]
) -> Float[Array, " frame"]:
    """The weights of a robust frame, with what is to become of those that were dropped.

    Args:
      bases: of the frame.
      on_overflow: as in `robust_frame`.
      room: returns the checked options that the bases were made with.
    """
    if on_overflow == "nan":
        return jnp.where(is_lost(bases.dropped)[None], jnp.nan, bases.weights)
    known = _known(bases.needed, bases.dropped)
    if known is not None and is_lost(known[1]):
        _warn(
            f"robust_frame drops {_shortage(*known, room())}. frame_capacity(frame, points[None]) "
            "finds what is enough. Hundreds of points that tie are told apart by attributes or by a "
            "higher threshold; else use pca_frame, or sampled_average over a group"
        )
    return bases.weights


def local_weights(
    bases: Bases,
    num_neighbours: Int[Array, " nodes"],
    max_neighbours: int | None,
    on_overflow: OnOverflow,
    room: Callable[[], RobustOptions],
) -> Float[Array, "frame nodes"]:
    """The weights of the frames of nodes, with what is to become of those that were dropped.

    Args:
      bases: of the nodes, with a leading axis for them.
      num_neighbours: of each node within the cutoff.
      max_neighbours: as in `local_frames`.
      on_overflow: as in `local_frames`.
      room: returns the checked options that the bases were made with.
    """
    weights = bases.weights.T
    if on_overflow == "nan":
        lost = is_lost(bases.dropped)
        if max_neighbours is not None:
            lost |= num_neighbours > max_neighbours
        return jnp.where(lost[None], jnp.nan, weights)
    known = _known(bases.needed, bases.dropped, num_neighbours)
    if known is None:
        return weights
    needed, dropped, neighbours = known
    lost = np.flatnonzero(is_lost(dropped))
    if len(lost):
        node = lost[np.argmax(needed[lost, -1])]
        shortage = _shortage(needed[node], dropped[node], room())
        _warn(
            f"local_frames drops, at {len(lost)} of {len(dropped)} nodes, most needed at node {node}, "
            f"{shortage}. frames.local_diagnostics tells what every node needs"
        )
    if max_neighbours is not None and neighbours.max(initial=0) > max_neighbours:
        _warn(
            f"local_frames leaves neighbours out at {np.sum(neighbours > max_neighbours)} of "
            f"{len(neighbours)} nodes: node {neighbours.argmax()} has {neighbours.max()} within the "
            f"cutoff, and there is room for max_neighbours={max_neighbours}"
        )
    return weights


def _known(*values: Array) -> list[np.ndarray] | None:
    # Under jax.grad alone they are known, but for their derivatives.
    known = [concrete(value) for value in jax.lax.stop_gradient(values)]
    return None if any(value is None for value in known) else known


def _warn(message: str) -> None:
    # Who is to read it called the library, at whatever depth.
    warnings.warn(message, FrameOverflowWarning, skip_file_prefixes=(_PACKAGE,))


def _shortage(needed: np.ndarray, dropped: np.ndarray, room: RobustOptions) -> str:
    """In words, how much weight is dropped, and what is needed against what there is room for."""
    *choices, elements = needed.tolist()
    # Elements are counted of the choices that were kept.
    least = "at least " if any(map(int.__gt__, choices, room.capacity)) else ""
    return (
        f"{100 * dropped:.3g} % of the weight, so that averages are not equivariant: {least}"
        f"capacity={tuple(choices)} and max_elements={elements} are needed, and there is room for "
        f"capacity={room.capacity} and max_elements={room.max_elements}"
    )
