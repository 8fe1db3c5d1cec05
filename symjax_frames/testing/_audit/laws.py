"""The laws that the values of a function under audit have to obey: symmetry, and no jumps."""

from typing import Literal

import jax.numpy as jnp
import numpy as np

from symjax_frames.testing._audit.moves import Path, draw_orthogonal, size_of
from symjax_frames.testing._audit.subject import Subject

_SAMPLES = 8
_SEGMENTS = 16
_SPARED_BITS = 10
"""Bits of a coordinate that halving stops short of: below it, all change is rounding."""


def orthogonal_error(subject: Subject, kind: Literal["proper", "improper"]) -> float:
    """The relative error under random rotations, or rotary reflections, about the centre."""
    dim = len(subject.centre)
    linear = draw_orthogonal(subject.rng, _SAMPLES, dim, kind)
    shift = subject.centre - linear @ subject.centre
    return float(np.max(subject.change(subject.values(linear=linear, shift=shift), subject.base)))


def translation_error(subject: Subject) -> float:
    """The relative error under random shifts, about as long as the size of the cloud."""
    shift = size_of(subject.moved[0]) * subject.rng.normal(size=(_SAMPLES, len(subject.centre)))
    return float(np.max(subject.change(subject.values(shift=shift), subject.base)))


def permutation_error(subject: Subject) -> float:
    """The relative error under random orders of the points."""
    points = np.tile(np.arange(len(subject.cloud)), (_SAMPLES, 1))
    order = subject.rng.permuted(points, axis=1)
    return float(np.max(subject.change(subject.values(order=order), subject.base)))


def largest_jump(subject: Subject, paths: list[Path]) -> float:
    """The largest change of the output between neighbouring points of paths.

    Every path is cut into segments. Each segment is halved many times, down to the rounding of the
    coordinates, and the half with the larger change is kept. The change of a continuous function
    then shrinks to nothing, that of a jump stays.
    """
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
    return float(np.max(change, initial=0.0, where=np.isfinite(change)))
