"""Averages over the elements of a frame, against as many evaluations of the backbone."""

import argparse
from typing import Any

from experiments.benchmarks import averaging
from experiments.benchmarks.averaged_backbones import BACKBONES
from experiments.benchmarks.report import Table
from experiments.benchmarks.speed.part import Part
from experiments.benchmarks.timing import spreads, stopwatch


def measure(options: argparse.Namespace) -> Part:
    """Times the models of `experiments.benchmarks.averaging`, of one backbone after the other."""
    numbers: dict[str, Any] = {}
    tables: list[Table] = []
    for name, make in BACKBONES.items():
        backbone = make(options.hidden, options.layers)
        calls = averaging.network_calls(backbone, options.systems, brief=options.quick)
        watches = {key: stopwatch(call, options.clock) for key, call in calls.items()}
        times = spreads(watches, options.repeats)
        tables += averaging.tables(backbone, {key: time.median for key, time in times.items()})
        for (model, kind), time in times.items():
            numbers.setdefault(name, {}).setdefault(model, {})[kind] = time._asdict()
    return Part(f"{averaging.describe(options)} Medians.", tables, {"ms": numbers})
