"""Frames a second, of many small clouds, and what they need of memory."""

import argparse
import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

import symjax_frames as sf
from experiments.benchmarks.report import Table
from experiments.benchmarks.speed.counts import counts_of
from experiments.benchmarks.speed.frames import projection
from experiments.benchmarks.speed.part import Part
from experiments.benchmarks.timing import medians

_POINTS = 16
FRAMES: dict[str, Callable[..., sf.Frame]] = {
    "pca_frame": sf.pca_frame,
    "canonical_frame": sf.canonical_frame,
    "robust_frame, 16 elements": functools.partial(
        sf.robust_frame, max_elements=16, capacity=(4, 4)
    ),
}
"""What is timed, by name."""


def measure(options: argparse.Namespace) -> Part:
    """Times frames with the projection of the cloud to all of their elements."""
    calls: dict[tuple[str, int], Callable[[], Any]] = {}
    temporaries = {}
    for count in options.clouds:
        clouds = np.random.default_rng(0).normal(size=(count, _POINTS, 3)).astype(np.float32)
        for name, frame in FRAMES.items():
            program = jax.jit(jax.vmap(projection(frame))).lower(clouds).compile()
            calls[name, count] = functools.partial(program, jax.device_put(clouds))
            temporaries[name, count] = counts_of(program).temporaries
    times = medians(calls, options.repeats)
    caption = (
        f"Clouds of {_POINTS} points in float32: the frame of each, and the cloud projected to all "
        "of its elements. Temporaries are what a call needs beside its arguments and results."
    )
    rows = [
        [
            *(name, f"{count:,}", f"{time:.3g} ms", f"{1e3 * count / time:,.0f}"),
            f"{temporaries[name, count] / 2**20:,.1f} MiB",
        ]
        for (name, count), time in times.items()
    ]
    numbers = [
        {"frame": name, "clouds": count, "ms": time, "temporaries": temporaries[name, count]}
        for (name, count), time in times.items()
    ]
    names = ["frame", "clouds", "time", "frames a second", "temporaries"]
    return Part(caption, [Table(names, rows)], {"frames": numbers})
