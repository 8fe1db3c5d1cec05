"""Averages over the elements of a frame, against as many evaluations of the backbone."""

import argparse
from typing import Any

from experiments.benchmarks import averaging
from experiments.benchmarks.speed.part import Part
from experiments.benchmarks.timing import spreads, stopwatch


def measure(options: argparse.Namespace) -> Part:
    """Times the models of `experiments.benchmarks.averaging`."""
    calls = averaging.network_calls(options)
    watches = {name: stopwatch(call, options.clock) for name, call in calls.items()}
    times = spreads(watches, options.repeats)
    caption = (
        f"{options.systems} systems of 5 bodies, PointGNN {options.hidden} wide with "
        f"{options.layers} layers, float32; medians."
    )
    numbers: dict[str, Any] = {}
    for (model, kind), time in times.items():
        numbers.setdefault(model, {})[kind] = time._asdict()
    medians = {name: time.median for name, time in times.items()}
    return Part(caption, averaging.tables(medians), {"ms": numbers})
