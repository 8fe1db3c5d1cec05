"""Timing of compiled functions side by side, so that their ratios mean something."""

import argparse
import functools
import os
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax

from experiments.benchmarks.options import positive

Call = Callable[[], Any]
"""A compiled function with its arguments."""

_SHORTEST = 0.005
"""Seconds that a sample lasts at least: shorter calls are repeated within it."""


def make_parser(description: str | None) -> argparse.ArgumentParser:
    """A command line with the options that all benchmarks have."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--repeats", type=positive, default=30, help="samples of each time")
    parser.add_argument("--threads", type=positive, help="CPU threads, by default one a core")
    return parser


def start(threads: int | None) -> str:
    """Starts JAX with a number of threads, or all; it must not have been used before.

    Args:
      threads: the number of CPU threads, one a core if `None`.

    Returns:
      The device that timings are of, in words.
    """
    if threads is not None:
        # XLA's command line flags name no number of threads; this is where it looks for one.
        os.environ["PJRT_NPROC"] = str(threads)
    kind = jax.devices()[0].device_kind
    if jax.default_backend() != "cpu":
        return kind
    count = threads or len(os.sched_getaffinity(0))
    return f"{kind}, {count} thread{'s' * (count > 1)}"


def prepare(function: Callable[..., Any], *args: Any) -> tuple[Call, float]:
    """Compiles a function for its arguments.

    Args:
      function: a pure function.
      args: the arguments it is called with.

    Returns:
      The call, and the milliseconds that compilation took.
    """
    lowered = jax.jit(function).lower(*args)
    begin = time.perf_counter()
    compiled = lowered.compile()
    return functools.partial(compiled, *args), 1e3 * (time.perf_counter() - begin)


def medians[Name](calls: Mapping[Name, Call], repeats: int) -> dict[Name, float]:
    """The median times of calls, sampled in turn: what slows the machine slows all of them.

    Args:
      calls: the calls by name.
      repeats: the number of samples of each.

    Returns:
      Milliseconds a call, by name.
    """
    counts = {}
    for name, call in calls.items():
        jax.block_until_ready(call())
        counts[name] = max(1, round(_SHORTEST / _seconds(call, 1)))
    samples: dict[Name, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            samples[name].append(_seconds(call, counts[name]))
    return {name: 1e3 * statistics.median(times) for name, times in samples.items()}


def _seconds(call: Call, count: int) -> float:
    begin = time.perf_counter()
    for _ in range(count):
        jax.block_until_ready(call())
    return (time.perf_counter() - begin) / count
