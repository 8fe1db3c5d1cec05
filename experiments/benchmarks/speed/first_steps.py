"""Trains the first steps of a configuration, and says when what was done: a process of its own.

    python -m experiments.benchmarks.speed.first_steps CONFIG CACHE [key=value ...]

It takes the way of the command `train` up to the end of the first dispatch, without a run folder.
It prints JSON: the seconds and the seconds of the processor since the process began, at each point
of the way, and how many times the loss was traced. An empty CACHE keeps no compiled programs.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any


def main() -> None:
    """Takes the first steps twice, and prints the times to the end of each."""
    path, cache, *overrides = sys.argv[1:]
    from experiments.compilation_cache import use_compilation_cache

    use_compilation_cache(cache)
    marks: dict[str, tuple[float, float]] = {}

    def mark(name: str) -> None:
        marks[name] = time.time() - _began(), time.process_time()

    from experiments.config.load import load_config
    from experiments.tasks.registry import make_task

    config = load_config(path, overrides)
    import jax

    from experiments.runs.checkpoint import Checkpoints
    from experiments.runs.restore import begin
    from experiments.training.programs import make_programs, packed_state
    from experiments.training.train import dispatch_lengths

    mark("imports")
    task = make_task(config)
    mark("data")
    state, _ = begin(config, task, Checkpoints(Path(config.run) / "none"))
    mark("weights")
    traces, loss = [], task.loss

    def counted(*args: Any) -> Any:
        traces.append(args)
        return loss(*args)

    vars(task)["loss"] = counted
    state, packed = packed_state(state)
    dispatch = make_programs(config, task, packed).dispatch
    examples = {name: jax.numpy.asarray(array) for name, array in task.splits["train"].items()}
    between = config.train.evaluate_every * config.steps_per_epoch
    length = dispatch_lengths(between, config.train.steps_per_dispatch)[0]
    for name in ("first steps", "steps after them"):
        state, trace = dispatch(state, examples, length)
        jax.block_until_ready(trace)
        mark(name)
    print(json.dumps({"marks": marks, "traces": len(traces), "steps": length}))


def _began() -> float:
    """When this process began, in seconds since the epoch; as exactly as the system tells."""
    try:
        ticks = int(Path("/proc/self/stat").read_text("utf-8").rpartition(")")[2].split()[19])
        up = float(Path("/proc/uptime").read_text("utf-8").split()[0])
    except (OSError, ValueError, IndexError):
        return _IMPORTED
    return time.time() - up + ticks / os.sysconf("SC_CLK_TCK")


_IMPORTED = time.time()

if __name__ == "__main__":
    main()
