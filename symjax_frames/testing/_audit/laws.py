"""The laws that the values of a function under audit have to obey: symmetry, and no jumps."""

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np

from symjax_frames.testing._audit.moves import Path, draw_orthogonal, size_of
from symjax_frames.testing._audit.subject import Subject

_SAMPLES = 8
_SEGMENTS = 16
_SPARED_BITS = 10
"""Bits of a coordinate that halving stops short of: below it, all change is rounding."""


def symmetry_errors(subject: Subject) -> dict[str, float]:
    """The relative errors by the names of the moves, all evaluated at once.

    The moves are random rotations, and rotary reflections, about the centre; random shifts, about as
    long as the size of the cloud; and random orders of the points, if these are to change nothing.
    """
    rng, (count, dim) = subject.rng, subject.cloud.shape
    turns = {kind: draw_orthogonal(rng, _SAMPLES, dim, kind) for kind in ("proper", "improper")}
    shifts = size_of(subject.moved[0]) * rng.normal(size=(_SAMPLES, dim))
    orders = rng.permuted(np.tile(np.arange(count), (_SAMPLES, 1)), axis=1)
    names = [*turns, "translation", *(["permutation"] if subject.probe.permutes else [])]
    linear = np.tile(np.eye(dim), (len(names), _SAMPLES, 1, 1))
    shift = np.zeros((len(names), _SAMPLES, dim))
    order = np.tile(np.arange(count), (len(names), _SAMPLES, 1))
    for row, turn in enumerate(turns.values()):
        linear[row], shift[row] = turn, subject.centre - turn @ subject.centre
    shift[2], order[3:] = shifts, orders
    values = subject.values(
        linear=linear.reshape(-1, dim, dim),
        shift=shift.reshape(-1, dim),
        order=order.reshape(-1, count),
    )
    errors = np.max(subject.change(values, subject.base).reshape(len(names), -1), axis=1)
    return dict(zip(names, map(float, errors), strict=True))


def largest_jumps(subject: Subject, kinds: Mapping[str, list[Path]]) -> dict[str, float]:
    """The largest change of the output between neighbouring points of each kind of paths.

    Every path is cut into segments. Each segment is halved many times, down to the rounding of the
    coordinates, and the half with the larger change is kept. The change of a continuous function
    then shrinks to nothing, that of a jump stays. A kind without paths is left out.
    """
    paths = [path for some in kinds.values() for path in some]
    grid = np.linspace(0, 1, _SEGMENTS + 1)
    low, high = (np.tile(ends, (len(paths), 1)) for ends in (grid[:-1], grid[1:]))

    def at(times: np.ndarray) -> list[np.ndarray]:
        lanes = [path(some) for path, some in zip(paths, times, strict=True)]
        return subject.values([np.concatenate(leaves) for leaves in zip(*lanes, strict=True)])

    def pick(
        second: np.ndarray, one: list[np.ndarray], other: list[np.ndarray]
    ) -> list[np.ndarray]:
        return [np.where(second[:, None], b, a) for a, b in zip(one, other, strict=True)]

    at_low, at_high = at(low), at(high)
    eps = float(jnp.finfo(subject.probe.dtype).eps)
    for _ in range(round(-np.log2(eps)) - _SPARED_BITS):
        middle = (low + high) / 2
        at_middle = at(middle)
        second = subject.change(at_high, at_middle) > subject.change(at_middle, at_low)
        at_low, at_high = pick(second, at_low, at_middle), pick(second, at_middle, at_high)
        second = second.reshape(middle.shape)
        low, high = np.where(second, middle, low), np.where(second, high, middle)
    change = subject.change(at_high, at_low)
    change = np.where(np.isfinite(change), change, 0.0).reshape(low.shape)
    owners = np.repeat(list(kinds), [len(some) for some in kinds.values()])
    return {kind: float(np.max(change[owners == kind])) for kind, some in kinds.items() if some}
