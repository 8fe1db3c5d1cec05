"""Timing of compiled functions side by side, so that their ratios mean something."""

import argparse
import functools
import os
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

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


class Spread(NamedTuple):
    """Milliseconds a call: the median of the samples, and their quartiles."""

    median: float
    lower: float
    upper: float


Stopwatch = Callable[[int], float]
"""Runs what it times so many times, and returns the seconds of one."""

CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": time.process_time}
"""What a time is of: seconds that pass, or those of the processor, which other work costs less."""


def stopwatch(call: Call, clock: str = "wall") -> Stopwatch:
    """Times calls of this process, each until its result is there.

    Args:
      call: what is timed.
      clock: a key of `CLOCKS`.
    """
    now = CLOCKS[clock]

    def seconds(count: int) -> float:
        begin = now()
        for _ in range(count):
            jax.block_until_ready(call())
        return (now() - begin) / count

    return seconds


def spreads[Name](watches: Mapping[Name, Stopwatch], repeats: int) -> dict[Name, Spread]:
    """Times, sampled in turn: what slows the machine slows all of them.

    Args:
      watches: what is timed, by name. Each runs twice before, so that it is warm.
      repeats: the number of samples of each.

    Returns:
      The times by name.
    """
    counts = {}
    for name, seconds in watches.items():
        seconds(1)
        counts[name] = max(1, round(_SHORTEST / max(seconds(1), 1e-9)))
    samples: dict[Name, list[float]] = {name: [] for name in watches}
    for _ in range(repeats):
        for name, seconds in watches.items():
            samples[name].append(1e3 * seconds(counts[name]))
    quartiles = {name: np.quantile(times, (0.5, 0.25, 0.75)) for name, times in samples.items()}
    return {name: Spread(*map(float, values)) for name, values in quartiles.items()}


def medians[Name](calls: Mapping[Name, Call], repeats: int) -> dict[Name, float]:
    """The median times of calls, sampled in turn as by `spreads`.

    Args:
      calls: the calls by name.
      repeats: the number of samples of each.

    Returns:
      Milliseconds a call, by name.
    """
    watches = {name: stopwatch(call) for name, call in calls.items()}
    return {name: spread.median for name, spread in spreads(watches, repeats).items()}
