"""How training is expected to scale to many accelerators: arithmetic on counted steps, not measured.

Run with `python -m experiments benchmark scaling --out DIR`. It counts what a step of training
costs, in minutes of compilation, and computes the rest from the machines in `MACHINES`, which are
assumptions. It times nothing, so the computer may do other things.
"""

import argparse
import functools
import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from rich.console import Console

from experiments.benchmarks.device import steps
from experiments.benchmarks.options import add_out, positive
from experiments.benchmarks.report import (
    Table,
    print_caption,
    print_paths,
    print_tables,
    write_report,
)
from experiments.benchmarks.speed.counts import counts
from experiments.config.load import load_config
from experiments.tasks.registry import make_task
from experiments.training.optimizer import make_optimizer
from experiments.training.state import initial_state
from experiments.training.steps import take_steps

_CONFIGS = Path(__file__).parents[2] / "configs"
_BYTES = 4
"""Of a gradient by one parameter."""


class Machine(NamedTuple):
    """Accelerators, as they are assumed to be.

    Attributes:
      peak: operations a second of one, in the precision that networks are trained in.
      utilisation: the part of them that a step of training reaches.
      node: how many are joined by fast links.
      fast: bytes a second that each sends to another one of its node.
      slow: bytes a second that each sends out of its node.
      hop: seconds that a message takes at least.
    """

    peak: float
    utilisation: float
    node: int
    fast: float
    slow: float
    hop: float


MACHINES = {
    "H100 nodes of 8, InfiniBand": Machine(495e12, 0.1, 8, 450e9, 50e9, 5e-6),
    "TPU v5p pod": Machine(459e12, 0.1, 8960, 100e9, 100e9, 1e-6),
}
"""By name: products in TF32 and NVLink of 900 GB/s both ways together, 400 Gbit/s of network for
each; and products in bfloat16 and two of the links of a chip, each of 100 GB/s both ways."""


class Work(NamedTuple):
    """What a step of training costs.

    Attributes:
      flops: counted operations of one example.
      parameters: how many there are.
      batch: examples in a batch.
    """

    flops: float
    parameters: int
    batch: int


def reduction(machine: Machine, size: float, count: int) -> float:
    r"""Seconds of an all-reduce, one a step.

    Formula: $2 \frac{n - 1}{n} \frac{s}{b} + 2 \lceil \log_2 n \rceil t$ for $s$ bytes, a ring of
    bandwidth $b$, and messages that take at least $t$ along a tree.

    Args:
      machine: the accelerators, whose slowest link bounds the ring.
      size: in bytes.
      count: how many take part.
    """
    bandwidth = machine.fast if count <= machine.node else machine.slow
    return (
        2 * (count - 1) / count * size / bandwidth + 2 * math.ceil(math.log2(count)) * machine.hop
    )


def seconds(machine: Machine, work: Work, examples: int, count: int) -> float:
    """Seconds of a step in which each accelerator has so many examples; nothing overlaps."""
    computing = examples * work.flops / (machine.peak * machine.utilisation)
    return computing + reduction(machine, _BYTES * work.parameters, count)


def weak(machine: Machine, work: Work, count: int) -> float:
    """The efficiency of weak scaling: each accelerator has a whole batch of its own."""
    return seconds(machine, work, work.batch, 1) / seconds(machine, work, work.batch, count)


def strong(machine: Machine, work: Work, count: int) -> float:
    """How many times as fast a step is in which all accelerators share one batch.

    One example is not divided: accelerators beyond their number have none.
    """
    shared = math.ceil(work.batch / count)
    return seconds(machine, work, work.batch, 1) / seconds(machine, work, shared, count)


def main(arguments: Sequence[str] | None = None) -> None:
    """Counts and computes, prints the tables, and writes them if a folder is given.

    Args:
      arguments: the command line, that of the process by default.
    """
    options = _parser().parse_args(arguments)
    console = Console()
    caption = (
        "Expected and not measured. Operations are those that the compiler counts in a step; every "
        "step has one all-reduce of the gradients in float32, and nothing overlaps. Weak: the "
        "efficiency with a whole batch on each. Strong: times as fast with one batch for all."
    )
    print_caption(console, caption)
    with tempfile.TemporaryDirectory() as folder:
        works = {name: make(Path(folder)) for name, make in WORKS.items()}
    tables = [_work_table(works), _table(works, options.devices)]
    print_tables(console, *tables)
    if options.out is not None:
        numbers = {
            "works": {name: work._asdict() for name, work in works.items()},
            "machines": {name: machine._asdict() for name, machine in MACHINES.items()},
        }
        print_paths(console, write_report(options.out, "scaling", caption, tables, numbers))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--devices", type=positive, nargs="+", default=[8, 64, 1024], help="how many accelerators"
    )
    add_out(parser, "the tables and their numbers")
    return parser


def _work_table(works: Mapping[str, Work]) -> Table:
    rows = [
        [name, f"{work.batch}", f"{work.flops / 1e9:.3g}", f"{work.parameters:,}"]
        for name, work in works.items()
    ]
    return Table(["training", "batch", "GFLOP an example", "parameters"], rows)


def _table(works: Mapping[str, Work], devices: Sequence[int]) -> Table:
    rows = []
    for machine_name, machine in MACHINES.items():
        for name, work in works.items():
            time = 1e3 * seconds(machine, work, work.batch, 1)
            rows.append([machine_name, name, f"{time:.3g} ms"])
            for count in devices:
                rows[-1] += [f"{weak(machine, work, count):.0%}"]
                rows[-1] += [f"{strong(machine, work, count):.3g}"]
    names = ["machine", "training", "step of one"]
    return Table(names + [f"{kind}, {n}" for n in devices for kind in ("weak", "strong")], rows)


def _counted(name: str, overrides: Sequence[str]) -> Work:
    """What a step of a configuration costs, compiled for the shapes of its arguments."""
    config = load_config(_CONFIGS / f"{name}.yaml", ["train.seeds=[0]", *overrides])
    task, batch = make_task(config), config.train.batch_size
    optimizer = make_optimizer(config.train, config.num_steps)
    seed = jax.ShapeDtypeStruct((), jnp.int32)
    state = jax.eval_shape(functools.partial(initial_state, task, optimizer, False), seed)
    options: dict[str, Any] = {"task": task, "optimizer": optimizer, "ema": None, "length": 1}
    step = functools.partial(take_steps, batch_size=batch, **options)
    found = counts(step, state, seed, dict(task.splits["train"]))
    parameters = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    return Work(found.flops / batch, parameters, batch)


_SHORT = [f"train.{key}=1" for key in ("epochs", "evaluate_every", "checkpoint_every")]
_SHORT += ["train.warmup_steps=0"]
_EXAMPLES = 128


def _nbody(folder: Path) -> Work:
    data = steps.CASES["nbody"](folder / "nbody.npz", _EXAMPLES)
    return _counted("nbody", [*_SHORT, *data])


def _digits(folder: Path) -> Work:
    counts = ("num_train: 128", "num_valid: 4", "num_test: 4")
    data = f"data={{cache: {folder}, {', '.join(counts)}}}"
    return _counted("digits_c16", [*_SHORT, data])


def _ethanol(name: str, *overrides: str) -> Callable[[Path], Work]:
    def counted(folder: Path) -> Work:
        data = steps.CASES["ethanol_robust"](folder / "ethanol.npz", _EXAMPLES)
        return _counted(name, [*_SHORT, *data, "train.batch_size=128", *overrides])

    return counted


_LARGE = [f"model.{key}" for key in ("backbone=transformer", "hidden=512", "layers=12", "degree=2")]
_BETWEEN_FRAMES = ["model.messages=between_frames", "model.degree=1", "train.optimizer=adamw"]
WORKS: dict[str, Callable[[Path], Work]] = {
    "n-body, sampled PCA frames": _nbody,
    "digits, C16 convolutions": _digits,
    "point transformer, 512 wide, 12 layers": _ethanol("ethanol_robust", *_LARGE),
    "local potential": _ethanol("ethanol_local", *_BETWEEN_FRAMES),
}
"""What is trained, by name: from a folder for data to what a step costs."""
