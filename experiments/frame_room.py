"""Whether a robust frame has room for its input: where it drops weight, it is no frame.

Then a model changes with the orientation of what it is given, so inputs are refused: those of a
data set before anything is trained or evaluated, and others where they are predicted.
"""

import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Real

import symjax_frames as sf
from experiments.config.symmetry import FrameModelConfig
from experiments.data.npz import DataError
from experiments.errors import UsageError
from experiments.symmetrize import FrameOf, make_frame

MOST_DROPPED = 1e-3
"""Of the weight of a frame: what is averaged over the rest is invariant to about that degree."""
MOST_ELEMENTS = 4096
"""Of a frame that is evaluated for every input: more are not advised."""
DRAWN = ", in the frame that is drawn from (model.training_threshold)"
"""What the label of an example ends with where training has a frame of its own."""
_AT_A_TIME = 64
_PAIRS = 2**18
"""Pairs of points that are looked at together."""


class Room(NamedTuple):
    """What a frame has no room for.

    Attributes:
      dropped: the weight of the elements that did not fit, of one in all.
      needed: the points that it needs as choices for each of the first two axes, and the elements;
        at least, if there is no room for the choices. Zeros of frames that drop nothing.
    """

    dropped: Float[Array, ""]
    needed: Int[Array, " 3"]


def no_need(dtype: Any) -> Room:
    """The room of a frame that drops nothing."""
    return Room(jnp.zeros((), dtype), jnp.zeros(3, jnp.int32))


def room_of(frame: FrameOf, points: Array, mask: Array | None = None) -> Room:
    """What a robust frame has no room for, of one cloud; a pure function."""
    found = sf.frame_diagnostics(frame, points, mask)
    assert found.dropped is not None and found.num_choices is not None, "of a robust frame"
    return Room(found.dropped, jnp.append(found.num_choices, found.num_elements))


def refuse_overflow(label: str, room: Room) -> None:
    """Refuses an input whose frame has lost so much weight that the output is not invariant.

    Args:
      label: what the input is called in errors.
      room: what its frame has no room for.

    Raises:
      DataError: it is more than `MOST_DROPPED`.
    """
    dropped = float(room.dropped)
    if dropped > MOST_DROPPED:
        *capacity, elements = np.asarray(room.needed).tolist()
        raise DataError(
            f"{label}: its frame must keep its weight, got {100 * dropped:.3g} % "
            "without room, so that the energy would change with the orientation (model.max_elements "
            f"must be at least {elements} and model.capacity at least {capacity} in the config.yaml "
            "of the run)"
        )


def refuse_overflows(
    config: FrameModelConfig,
    label: Callable[[int], str],
    points: Float[np.ndarray, "examples points 3"],
    kinds: Int[np.ndarray, "examples points"] | None = None,
    numbers: Real[np.ndarray, " kinds"] | None = None,
    *,
    robust_closure: Literal["signs", "octahedral"] = "signs",
) -> None:
    """Refuses a configuration whose robust frames have no room for some example of a data set.

    Args:
      config: the model section of a configuration.
      label: what an example is called in errors.
      points: a cloud of each example. Of arrays that are mapped into memory some are read at a time.
      kinds: of the points, 0 for padding; `None` if all are real and alike.
      numbers: of each kind, which tell the points apart.
      robust_closure: as in `make_frame`.

    Raises:
      UsageError: more than `MOST_DROPPED` is dropped of the weight of a frame. It says of which,
        and what has room for all examples, or that nothing has.
    """
    if config.frame != "robust":
        return
    frame = make_frame(config, robust_closure=robust_closure)
    assert isinstance(frame, functools.partial)
    options = {name: value for name, value in frame.keywords.items() if name != "attributes"}
    data = _Data(points, kinds, numbers)
    dropped = _all_dropped(data, tuple(sorted(options.items())))
    short = np.flatnonzero(dropped > MOST_DROPPED)
    if not len(short):
        return
    worst = int(dropped.argmax())
    others = f" and {len(short) - 1} others" if len(short) > 1 else ""
    raise UsageError(
        f"model.max_elements: must have room for the robust frame of every example, got "
        f"{config.max_elements} with model.capacity={list(config.capacity)}, without room for "
        f"{100 * dropped[worst]:.3g} % of the weight of {label(worst)}{others}, so that the output "
        f"would change with the orientation; {_advice(config, options, data, short)}"
    )


_Clouds = tuple[np.ndarray, np.ndarray | None, np.ndarray | None]
"""Points, masks and attributes of many clouds."""


class _Data(NamedTuple):
    """The clouds of all examples."""

    points: np.ndarray
    kinds: np.ndarray | None
    numbers: np.ndarray | None

    def at(self, rows: Int[np.ndarray, " some"]) -> _Clouds:
        """Some of them."""
        if self.kinds is None or self.numbers is None:
            return self.points[rows], None, None
        kinds = self.kinds[rows]
        return self.points[rows], kinds > 0, self.numbers[kinds]


def _all_dropped(data: _Data, options: tuple[tuple[str, Any], ...]) -> Float[np.ndarray, " all"]:
    """The weight that is dropped of every cloud, by one program of a bounded size."""
    examples, count = data.points.shape[:2]
    rows = min(max(_PAIRS // count**2, 1), _AT_A_TIME)
    dropped = []
    for start in range(0, examples, rows):
        # Always as many, the last ones filled up, or another number would be compiled for.
        chosen = np.minimum(np.arange(start, start + rows), examples - 1)
        dropped.append(_dropped(data.at(chosen), options))
    return np.concatenate(dropped)[:examples]


@functools.partial(jax.jit, static_argnames="options")
def _dropped(data: Any, options: tuple[tuple[str, Any], ...]) -> Float[Array, " rows"]:
    def of_one(points: Array, mask: Array | None, attributes: Array | None) -> Array:
        frame = functools.partial(sf.robust_frame, **dict(options), attributes=attributes)
        return room_of(frame, points, mask).dropped

    return jax.vmap(of_one)(*data)


def _advice(
    config: FrameModelConfig, options: dict[str, Any], data: _Data, short: Int[np.ndarray, " few"]
) -> str:
    """What has room for the examples that have none."""
    points, mask, attributes = jax.tree.map(jnp.asarray, data.at(short))
    frame = functools.partial(sf.robust_frame, **options)
    try:
        needed = sf.frame_capacity(frame, points, mask, attributes=attributes, most=MOST_ELEMENTS)
    except ValueError:
        return (
            f"its points tie, so that it needs more than {MOST_ELEMENTS} elements: a higher "
            "threshold needs fewer, model.frame=pca or quadrature as many as for any other"
        )
    capacity = [max(pair) for pair in zip(needed.capacity, config.capacity, strict=True)]
    elements = max(needed.max_elements, config.max_elements)
    return f"model.max_elements={elements} and model.capacity={capacity} have room"
