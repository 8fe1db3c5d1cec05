"""Seconds from the start of a process to its first steps of training, without and with a cache."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.benchmarks.report import Table
from experiments.benchmarks.speed.part import Part
from experiments.errors import ExperimentError

_PROGRAM = "experiments.benchmarks.speed.first_steps"
_COLD, _WARM = "first start", "second start"


def measure(options: argparse.Namespace) -> Part:
    """Starts training in processes of its own, each time with an empty folder and with a full one."""
    rows: list[list[str]] = []
    found: dict[str, list[dict[str, Any]]] = {_COLD: [], _WARM: []}
    column = {"wall": 0, "cpu": 1}[options.clock]
    with tempfile.TemporaryDirectory() as folder:
        # So that no start makes the data.
        overrides = [f"run={folder}/run", f"data.cache={folder}/data"]
        _start(options, "", overrides)
        for number in range(options.starts):
            cache = str(Path(folder, f"cache{number}"))
            for kind in (_COLD, _WARM):
                found[kind].append(_start(options, cache, overrides))
    points = list(found[_COLD][0]["marks"])
    for point in points:
        cells = [
            f"{min(start['marks'][point][column] for start in starts):.2f} s"
            for starts in found.values()
        ]
        rows.append([point, *cells])
    traces = [f"{starts[0]['traces']}" for starts in found.values()]
    steps = found[_COLD][0]["steps"]
    caption = (
        f"Training of {options.config}: seconds from the start of the process to the end of each "
        f"point, the least of {options.starts}; the first steps are {steps} in a dispatch, with their "
        "compilation. The first start has an empty folder of compiled programs, the second that of "
        "the first."
    )
    rows.append(["traces of the loss", *traces])
    return Part(caption, [Table(["", *found], rows)], found)


def _start(options: argparse.Namespace, cache: str, overrides: Sequence[str]) -> dict[str, Any]:
    environment = os.environ | {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1"}
    if options.threads is not None:
        environment["PJRT_NPROC"] = str(options.threads)
    command = [sys.executable, "-m", _PROGRAM, options.config, cache, *overrides]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise ExperimentError(f"{options.config}: cannot be trained: {done.stderr.strip()[-500:]}")
    return json.loads(done.stdout.splitlines()[-1])
