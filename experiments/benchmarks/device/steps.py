"""Steps of training of the n-body network and of a potential of ethanol, on the device and a CPU."""

import argparse
import functools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks.report import Table
from experiments.benchmarks.speed.counts import counts_of
from experiments.benchmarks.speed.part import Part
from experiments.benchmarks.timing import Call, medians
from experiments.config.load import load_config
from experiments.tasks.molecules.data.names import molecule_named
from experiments.tasks.registry import make_task
from experiments.training.optimizer import make_optimizer
from experiments.training.state import initial_state
from experiments.training.steps import take_steps

_CONFIGS = Path(__file__).parents[3] / "configs"
STEPS = 10
"""Steps in a dispatch."""
_FEW = 4
"""Examples of the splits that are not trained on."""


class Step(NamedTuple):
    """What is timed.

    Attributes:
      case: a key of `CASES`.
      batch: examples in a batch.
      precision: what the network computes in.
      platform: that of the device.
    """

    case: str
    batch: int
    precision: str
    platform: str


def _nbody(path: Path, count: int) -> list[str]:
    """Bodies at random, which take as long as others; and what the configuration says of them."""
    draws = np.random.default_rng(0)
    arrays: dict[str, Any] = {}
    for split, number in {"train": count, "valid": _FEW, "test": _FEW}.items():
        for name in ("position", "velocity", "target"):
            values = draws.normal(size=(number, 5, 3))
            arrays[f"{name}_{split}"] = values.astype(np.float32)
        charges = draws.choice([-1.0, 1.0], size=(number, 5))
        arrays[f"charge_{split}"] = charges.astype(np.float32)
    np.savez(path, **arrays)
    return [f"data={{path: {path}, {_counts(count)}}}"]


def _ethanol(path: Path, count: int) -> list[str]:
    """Ethanol with atoms moved at random, and random labels."""
    atoms, draws = molecule_named("ethanol"), np.random.default_rng(0)
    shape = (count + 2 * _FEW, len(atoms), 3)
    positions = atoms.positions + 0.05 * draws.normal(size=shape)
    labels: dict[str, Any] = {"E": draws.normal(size=len(positions)), "F": draws.normal(size=shape)}
    np.savez(path, z=atoms.numbers, R=positions, **labels)
    return [f"data={{kind: file, path: {path}, {_counts(count)}}}"]


def _counts(count: int) -> str:
    return f"num_train: {count}, num_valid: {_FEW}, num_test: {_FEW}"


CASES: dict[str, Callable[[Path, int], list[str]]] = {
    "nbody": _nbody,
    "ethanol_robust": _ethanol,
}
"""The configurations that are trained, by name, and what replaces their data."""


def measure(options: argparse.Namespace) -> Part:
    """Times steps in both precisions on the device, and in float32 on the CPU."""
    own = jax.default_backend()
    wanted = [
        Step(case, batch, precision, own)
        for case in CASES
        for batch in options.batches
        for precision in ("float32", "bfloat16")
        # Half of the digits pay for large batches, if they do.
        if precision == "float32" or batch == max(options.batches)
    ]
    if own != "cpu":
        wanted += [Step(case, min(options.batches), "float32", "cpu") for case in CASES]
    with tempfile.TemporaryDirectory() as folder:
        prepared = {step: _prepared(step, Path(folder), options) for step in wanted}
    times = {
        step: time / STEPS
        for platform in {step.platform for step in wanted}
        for step, time in medians(
            {step: call for step, (call, _) in prepared.items() if step.platform == platform},
            options.repeats,
        ).items()
    }
    caption = (
        f"Steps of the loop that trains, {STEPS} in a dispatch, as in configs/nbody.yaml and "
        f"configs/ethanol_robust.yaml with networks {options.hidden} wide and {options.layers} "
        "layers; the loss of ethanol is of energies and forces."
    )
    names = [
        "configuration",
        "batch",
        "network in",
        "device",
        "step",
        "examples a second",
        "memory",
    ]
    rows = [
        [
            *(step.case, f"{step.batch}", step.precision, step.platform),
            *(f"{times[step]:.3g} ms", f"{1e3 * step.batch / times[step]:,.0f}"),
            f"{prepared[step][1] / 2**20:,.1f} MiB",
        ]
        for step in wanted
    ]
    numbers = [
        step._asdict() | {"ms": times[step], "temporaries": prepared[step][1]} for step in wanted
    ]
    return Part(caption, [Table(names, rows)], {"steps": numbers})


def _prepared(step: Step, folder: Path, options: argparse.Namespace) -> tuple[Call, int]:
    """Some steps, compiled for their device, and the bytes of their temporaries."""
    count = step.batch * STEPS
    settings = {"batch_size": step.batch, "precision": step.precision, "seeds": "[0]"}
    settings |= dict.fromkeys(("epochs", "evaluate_every", "checkpoint_every"), 1)
    settings["warmup_steps"] = 0
    config = load_config(
        _CONFIGS / f"{step.case}.yaml",
        [
            *CASES[step.case](folder / f"{step.case}.npz", count),
            *(f"train.{name}={value}" for name, value in settings.items()),
            *(f"model.{name}={getattr(options, name)}" for name in ("hidden", "layers")),
        ],
    )
    device = jax.devices(step.platform)[0]
    with jax.default_device(device):
        task = make_task(config)
        optimizer = make_optimizer(config.train, config.num_steps)
        seed = jnp.zeros((), jnp.int32)
        state = jax.jit(functools.partial(initial_state, task, optimizer, True))(seed)
        steps: dict[str, Any] = {"task": task, "optimizer": optimizer, "length": STEPS}
        steps |= {"batch_size": step.batch, "ema": config.train.ema}
        arguments = state, seed, dict(task.splits["train"])
        arguments = jax.device_put(arguments, device)
        compiled = jax.jit(functools.partial(take_steps, **steps)).lower(*arguments).compile()
    return functools.partial(compiled, *arguments), counts_of(compiled).temporaries
