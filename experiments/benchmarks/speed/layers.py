"""The layer-wise averaged network of Puny et al., against networks of other libraries.

These are a restatement of theirs in PyTorch, and equivariant networks of e3nn-jax with about as many
features.
"""

import argparse
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from experiments.benchmarks.report import Table
from experiments.benchmarks.speed import puny_torch
from experiments.benchmarks.speed.layerwise import PARTS, STEPS, layerwise_model, training_calls
from experiments.benchmarks.speed.part import Part, shown, times_of
from experiments.benchmarks.speed.peers import MISSING, Peer, with_library
from experiments.benchmarks.timing import Call, Spread, spreads, stopwatch

_OURS = "ours"
_TORCH = "PyTorch"
_E3NN = {1: "e3nn-jax, degree 1", 2: "e3nn-jax, degree 2"}
_ROWS = {
    "forward": ("forward",),
    "step in a dispatch of its own": ("step",),
    f"step, {STEPS} in a dispatch": ("steps", "step"),
    f"step, {STEPS} in a dispatch, gradients of {PARTS} parts": ("steps in parts", "steps", "step"),
}
"""What is compared: of ours the first call, and of a peer the first that it has."""


def measure(options: argparse.Namespace) -> Part:
    """Times the forward pass and the training step at the size of the paper."""
    systems = 100
    calls, parameters, reason = _calls(systems, options.quick)
    watches: dict[tuple[str, str], Any] = {
        key: stopwatch(call, options.clock) for key, call in calls.items()
    }
    threads = options.threads or len(os.sched_getaffinity(0))
    arguments = ["--threads", f"{threads}", "--clock", options.clock, "--systems", f"{systems}"]
    with Peer(options.torch_python, Path(puny_torch.__file__), arguments) as peer:
        for name in peer.names:
            watches[_TORCH, name] = lambda count, name=name: peer.seconds(name, count)
        times = spreads(watches, options.repeats)
    for key in times:
        if key[1].startswith("steps"):
            times[key] = Spread(*(time / STEPS for time in times[key]))
    reasons = {_TORCH: MISSING} | dict.fromkeys(_E3NN.values(), reason)
    caption = (
        f"{systems} systems of 5 bodies, 4 layers of 60 features, 8 elements, float32. The network "
        "in PyTorch is a restatement of that of the paper, arXiv:2110.03336. Those of e3nn-jax have "
        "as many numbers at a node, in features up to a degree, and spherical harmonics up to degree "
        f"2. Parameters: {', '.join(f'{name} {count:,}' for name, count in parameters.items())}."
    )
    numbers = {f"{who}, {what}": time._asdict() for (who, what), time in times.items()}
    return Part(
        caption,
        [_table(times, who, reason) for who, reason in reasons.items()],
        {"ms": numbers, "parameters": parameters},
    )


def _calls(systems: int, brief: bool) -> tuple[dict[tuple[str, str], Call], dict[str, int], str]:
    """What runs in this process and the sizes of the networks, by name; and why e3nn-jax does not."""
    models = {_OURS: layerwise_model()}
    module = with_library("experiments.benchmarks.speed.e3nn_bodies", "e3nn_jax")
    if not isinstance(module, str):
        models |= {name: module.e3nn_model(degree) for degree, name in _E3NN.items()}
    calls = {
        (who, what): call
        for who, model in models.items()
        for what, call in training_calls(model, systems, brief=brief).items()
    }
    parameters = {
        who: sum(leaf.size for leaf in jax.tree.leaves(model.params))
        for who, model in models.items()
    }
    return calls, parameters, module if isinstance(module, str) else ""


def _table(times: Mapping[tuple[str, str], Spread], peer: str, reason: str) -> Table:
    """Our times beside those of a peer, or the reason for which it has none."""
    rows = []
    for what, kinds in _ROWS.items():
        ours = times.get((_OURS, kinds[0]))
        if ours is None:
            continue
        theirs = next((times[peer, kind] for kind in kinds if (peer, kind) in times), None)
        rows.append([what, *shown(ours), *shown(theirs, reason), times_of(ours, theirs)])
    names = ["layer-wise network", "ours", "quartiles", peer, "quartiles", "times as long"]
    return Table(names, rows)
