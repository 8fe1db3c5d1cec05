"""What becomes of the weight of a frame that its options have no room for: it is never silent."""

import warnings
from collections.abc import Callable
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from symjax_frames._checks import concrete
from symjax_frames._padding import LIBRARY
from symjax_frames.frames._gram_schmidt import Bases
from symjax_frames.frames._robust_options import RobustOptions

OnOverflow = Literal["drop", "nan"]
"""What becomes of dropped weight: those kept share it, or all weights of the frame are NaN."""

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


def rounding_of(dtype: Any) -> float:
    """Up to how much of the weight of a frame of this dtype may be dropped by rounding alone."""
    return _ROUNDINGS * float(jnp.finfo(dtype).eps)


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
        lost = bases.dropped > rounding_of(bases.dropped.dtype)
        return jnp.where(lost[None], jnp.nan, bases.weights)
    needed, dropped = map(known_value, (bases.needed, bases.dropped))
    if needed is None or dropped is None:
        return bases.weights
    if dropped > rounding_of(dropped.dtype):
        _warn(
            f"robust_frame drops {_shortage(needed, float(dropped), room())}. "
            "frame_capacity(frame, points[None]) finds what is enough. Hundreds of points that tie "
            "are told apart by attributes or by a higher threshold; else use pca_frame, or "
            "sampled_average over a group"
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
        lost = bases.dropped > rounding_of(bases.dropped.dtype)
        if max_neighbours is not None:
            lost |= num_neighbours > max_neighbours
        return jnp.where(lost[None], jnp.nan, weights)
    advice = "frames.local_diagnostics tells what every node needs"
    warn_of_many("local_frames", "node", bases.needed, bases.dropped, room, advice)
    neighbours = None if max_neighbours is None else known_value(num_neighbours)
    if neighbours is not None and neighbours.max(initial=0) > max_neighbours:
        _warn(
            f"local_frames leaves neighbours out at {np.sum(neighbours > max_neighbours)} of "
            f"{len(neighbours)} nodes: node {neighbours.argmax()} has {neighbours.max()} within the "
            f"cutoff, and there is room for max_neighbours={max_neighbours}"
        )
    return weights


def warn_of_many(
    name: str,
    unit: str,
    needed: Int[Array, "graphs dim"],
    dropped: Float[Array, " graphs"],
    room: Callable[[], RobustOptions],
    advice: str,
) -> None:
    """Warns if values are known and one of many robust frames drops weight.

    Args:
      name: the function that made the frames.
      unit: what each frame is of.
      needed: as in `Bases`, of each.
      dropped: as in `Bases`, of each.
      room: returns the checked options that the bases were made with.
      advice: who tells more.
    """
    needs, lost = known_value(needed), known_value(dropped)
    if needs is None or lost is None:
        return
    short = np.flatnonzero(lost > rounding_of(lost.dtype))
    if len(short):
        most = short[np.argmax(needs[short, -1])]
        _warn(
            f"{name} drops, at {len(short)} of {len(lost)} {unit}s, most needed at {unit} {most}, "
            f"{_shortage(needs[most], float(lost[most]), room())}. {advice}"
        )


def known_value(value: Array) -> np.ndarray | None:
    """The values of an array if they are known, under `jax.grad` alone too."""
    return concrete(jax.lax.stop_gradient(value))


def _warn(message: str) -> None:
    warnings.warn(message, FrameOverflowWarning, skip_file_prefixes=LIBRARY)


def _shortage(needed: np.ndarray, dropped: float, room: RobustOptions) -> str:
    """In words, how much weight is dropped, and what is needed against what there is room for."""
    *choices, elements = needed.tolist()
    # Elements are counted of the choices that were kept.
    least = "at least " if any(map(int.__gt__, choices, room.capacity)) else ""
    return (
        f"{100 * dropped:.3g} % of the weight, so that averages are not equivariant: {least}"
        f"capacity={tuple(choices)} and max_elements={elements} are needed, and there is room for "
        f"capacity={room.capacity} and max_elements={room.max_elements}"
    )
