"""The layer-wise averaged network of Puny et al., against a restatement of theirs in PyTorch."""

import argparse
import os
from pathlib import Path
from typing import Any

from experiments.benchmarks.report import Table
from experiments.benchmarks.speed import puny_torch
from experiments.benchmarks.speed.layerwise import PARTS, STEPS, layerwise_calls
from experiments.benchmarks.speed.part import Part, shown, times_of
from experiments.benchmarks.speed.peers import Peer
from experiments.benchmarks.timing import Spread, spreads, stopwatch

_PEER = "PyTorch"
_ROWS = {
    "forward": ("forward", "forward"),
    "step in a dispatch of its own": ("step", "step"),
    f"step, {STEPS} in a dispatch": ("steps", "step"),
    f"step, {STEPS} in a dispatch, gradients of {PARTS} parts": ("steps in parts", "step"),
}
"""What is compared: our call, and that of the peer."""


def measure(options: argparse.Namespace) -> Part:
    """Times the forward pass and the training step at the size of the paper."""
    systems = 100
    calls = layerwise_calls(systems)
    watches: dict[tuple[str, str], Any] = {
        ("ours", name): stopwatch(call, options.clock) for name, call in calls.items()
    }
    threads = options.threads or len(os.sched_getaffinity(0))
    arguments = ["--threads", f"{threads}", "--clock", options.clock, "--systems", f"{systems}"]
    with Peer(options.torch_python, Path(puny_torch.__file__), arguments) as peer:
        for name in peer.names:
            watches[_PEER, name] = lambda count, name=name: peer.seconds(name, count)
        times = spreads(watches, options.repeats)
    for several in ("steps", "steps in parts"):
        times["ours", several] = Spread(*(time / STEPS for time in times["ours", several]))
    rows = [
        [
            what,
            *shown(times["ours", ours]),
            *shown(times.get((_PEER, theirs))),
            times_of(times["ours", ours], times.get((_PEER, theirs))),
        ]
        for what, (ours, theirs) in _ROWS.items()
    ]
    names = ["layer-wise network", "ours", "quartiles", _PEER, "quartiles", "times as long"]
    caption = (
        f"{systems} systems of 5 bodies, 4 layers of 60 features, 8 elements, float32. The network "
        "in PyTorch is a restatement of that of the paper, arXiv:2110.03336."
    )
    numbers = {f"{who}, {what}": time._asdict() for (who, what), time in times.items()}
    return Part(caption, [Table(names, rows)], {"ms": numbers})
