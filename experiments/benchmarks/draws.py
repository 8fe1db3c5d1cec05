"""Noise of the gradient in training, from elements that are drawn independently or systematically.

Run with `python -m experiments benchmark draws --out DIR`. It times nothing, so the machine may do
other things.
"""

import argparse
import functools
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, PyTree
from rich.console import Console

from experiments.benchmarks.options import add_out, natural, positive
from experiments.benchmarks.report import (
    Table,
    print_caption,
    print_paths,
    print_tables,
    write_report,
)
from experiments.config.choices import Draws
from experiments.config.load import load_config
from experiments.tasks.molecules.data.names import molecule_named
from experiments.tasks.registry import make_task
from experiments.training.optimizer import make_optimizer
from experiments.training.state import initial_state
from experiments.training.steps import take_steps
from experiments.training.task import Batch, Task

_CONFIGS = Path(__file__).parents[2] / "configs"
_TRAIN = 500
"""Training examples."""
_JITTER = 0.1
"""Standard deviation of the coordinates of an atom of ethanol, in Angstrom."""
_STIFF = 1.0
"""Of the springs between all pairs of atoms, whose energy is what is learnt, in eV/Angstrom^2."""
_DISPATCH = 20
"""Steps of training in a dispatch."""


def _nbody(folder: Path) -> list[str]:
    counts = {"train": _TRAIN, "valid": 1, "test": 1}
    return [f"data.cache={folder}", *(f"data.num_{split}={n}" for split, n in counts.items())]


def _ethanol(folder: Path) -> list[str]:
    """Snapshots of ethanol with its atoms moved at random, as a molecule of springs."""
    atoms = molecule_named("ethanol")
    at_rest = np.linalg.norm(atoms.positions[:, None] - atoms.positions, axis=-1)
    moves = np.random.default_rng(0).normal(size=(_TRAIN + 2, len(atoms), 3))
    positions = jnp.asarray(atoms.positions + _JITTER * moves)

    def energy(positions: Float[Array, "atoms 3"]) -> Float[Array, ""]:
        first, second = np.triu_indices(len(atoms), 1)
        lengths = jnp.linalg.norm(positions[first] - positions[second], axis=1)
        return _STIFF / 2 * jnp.sum((lengths - at_rest[first, second]) ** 2)

    energies, slopes = jax.jit(jax.vmap(jax.value_and_grad(energy)))(positions)
    path = folder / "ethanol.npz"
    np.savez(path, z=atoms.numbers, R=positions, E=energies, F=-slopes)
    # The section of a simulation gives way to that of a file.
    data = f"{{kind: file, path: {path}, num_train: {_TRAIN}, num_valid: 1, num_test: 1}}"
    return [f"data={data}"]


CASES: dict[str, Callable[[Path], list[str]]] = {"nbody_demo": _nbody, "ethanol_demo": _ethanol}
"""The configurations that are measured, by name, and what replaces their data."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and prints the table, and writes it with its numbers if a folder is given.

    Args:
      arguments: the command line, that of the process by default.
    """
    options = _parser().parse_args(arguments)
    console = Console()
    caption = (
        "Variance of the gradient of the training loss over the draws of elements, of "
        f"{options.examples} examples that stay the same, summed over all weights, from "
        f"{options.repeats} draws; and divided by that of independent draws, at the same cost. "
        f"Untrained, and after {options.steps} steps of training with one element a step."
    )
    print_caption(console, caption)
    with tempfile.TemporaryDirectory() as folder:
        results = {
            name: _measured(name, data(Path(folder)), options) for name, data in CASES.items()
        }
    table = Table(
        ["configuration", "elements", "draws", "untrained", "ratio", "trained", "ratio"],
        [row for name, found in results.items() for row in _rows(name, found)],
    )
    print_tables(console, table)
    if options.out is not None:
        settings = {name: value for name, value in vars(options).items() if name != "out"}
        document = settings | {"variances": results}
        print_paths(console, write_report(options.out, "draws", caption, [table], document))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=positive, default=200, help="draws of a gradient")
    parser.add_argument("--examples", type=positive, default=16, help="in the batch")
    parser.add_argument("--steps", type=natural, default=400, help="steps of training")
    parser.add_argument(
        "--elements", type=positive, nargs="+", default=[2, 4], help="drawn for an example"
    )
    add_out(parser)
    return parser


def _measured(
    name: str, data: Sequence[str], options: argparse.Namespace
) -> dict[str, dict[str, list[float]]]:
    """The variances of a configuration, untrained and trained, by number of elements and draws."""

    def task(*overrides: str) -> Any:
        # As short as it is, the training needs no warm-up.
        changes = [*data, "train.warmup_steps=0", *overrides]
        return make_task(load_config(_CONFIGS / f"{name}.yaml", changes))

    one = task("model.num_samples=1")
    stages = _stages(one, options.steps)
    batch = {
        key: jnp.asarray(rows[: options.examples]) for key, rows in one.splits["train"].items()
    }
    keys = jax.random.split(jax.random.key(1), options.repeats)
    found: dict[str, dict[str, list[float]]] = {}
    for count in options.elements:
        found[str(count)] = {}
        for draws in get_args(Draws):
            measure = jax.jit(
                functools.partial(
                    gradient_variance, task(f"model.num_samples={count}", f"model.draws={draws}")
                )
            )
            found[str(count)][draws] = [float(measure(params, batch, keys)) for params in stages]
    return found


def gradient_variance(
    task: Task, params: PyTree[Array], batch: Batch, keys: Key[Array, " draws"]
) -> Float[Array, ""]:
    """The variance of the gradient of a loss over its keys, summed over the parameters."""

    def gradient(key: Key[Array, ""]) -> Float[Array, " parameters"]:
        slopes = jax.grad(task.loss)(params, batch, key)
        return jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(slopes)])

    return jnp.sum(jnp.var(jax.lax.map(gradient, keys), axis=0, ddof=1))


def _stages(task: Any, steps: int) -> list[PyTree[Array]]:
    """The parameters before training, and after a number of steps, or the first twice for none."""
    optimizer = make_optimizer(task.config.train, max(steps, 1))
    seed = jnp.zeros((), jnp.int32)
    state = jax.jit(functools.partial(initial_state, task, optimizer, False))(seed)
    untrained = state.params
    data = {name: jnp.asarray(rows) for name, rows in task.splits["train"].items()}
    take: Any = jax.jit(
        functools.partial(
            take_steps,
            task=task,
            optimizer=optimizer,
            batch_size=task.config.train.batch_size,
            ema=None,
            length=min(steps, _DISPATCH),
        )
    )
    for _ in range(steps // _DISPATCH if steps > _DISPATCH else min(steps, 1)):
        state, _ = take(state, seed, data)
    return [untrained, state.params]


def _rows(name: str, found: Mapping[str, Mapping[str, list[float]]]) -> list[list[str]]:
    rows = []
    for count, variances in found.items():
        whole = variances["independent"]
        for draws, stages in variances.items():
            rows.append([name, count, draws])
            for variance, independent in zip(stages, whole, strict=True):
                rows[-1] += [f"{variance:.3g}", f"{variance / independent:.3f}"]
    return rows
