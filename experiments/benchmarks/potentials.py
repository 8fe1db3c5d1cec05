"""Speed of potentials on ethanol in training, evaluation and dynamics, with that of e3x.

Run with `python -m experiments benchmark potentials --out DIR`, on a machine that does nothing else.
"""

import argparse
import functools
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import ase.build
import jax
import jax.numpy as jnp
import numpy as np
from ase import units
from ase.md.verlet import VelocityVerlet
from jaxtyping import Array, PyTree
from rich.console import Console

from experiments.benchmarks.options import add_out, positive
from experiments.benchmarks.report import (
    Table,
    print_caption,
    print_paths,
    print_tables,
    write_report,
)
from experiments.benchmarks.timing import Call, make_parser, medians, prepare, start
from experiments.errors import UsageError
from experiments.tasks.molecules.calculator import SymmetrizedCalculator
from experiments.tasks.molecules.config import MoleculesConfig
from experiments.tasks.molecules.task import MoleculesTask
from experiments.training.optimizer import make_optimizer
from experiments.training.state import State, initial_state, map_seeds
from experiments.training.steps import Trace, take_steps
from experiments.training.task import Batch

_BASELINE = "e3x"
_SAMPLED = {"frame": "pca", "training_average": "sampled"}
_ROBUST = {"frame": "robust", "max_elements": 20, "threshold": 0.25, "training_average": "sampled"}
_MESSAGES = {"backbone": "message_passing", "degree": 1}
# As in the configurations of ethanol, where there is one.
MODELS: dict[str, dict[str, Any]] = {
    "message passing, PCA, sampled": _MESSAGES | _SAMPLED,
    "message passing, robust, sampled": _MESSAGES | _ROBUST,
    "message passing, PCA, full": _MESSAGES | {"frame": "pca"},
    "message passing, augmented": _MESSAGES | {"augmentation": "reflections"},
    "transformer, PCA, sampled": {"backbone": "transformer", **_SAMPLED},
    "point sum, PCA, sampled": {"backbone": "point_sum", **_SAMPLED},
    _BASELINE: {"backbone": "e3x"},
}
"""What is compared, and the model section of its configuration but for sizes."""

_STEPS = 10
"""Steps of training in a dispatch, and steps of dynamics in a sample."""
_TIME_STEP = 0.5
"""In femtoseconds."""
_JITTER = 0.05
"""Standard deviation of the coordinates of an atom, in Angstrom."""
_SLOW = 1e-3
"""Standard deviation of the velocities in angstrom per ASE unit of time: those of a carbon at 0.1 K."""
_WEAK = 1e-4
"""Size of the labels in eV and Angstrom: so weak that a molecule keeps its shape."""


class Model(NamedTuple):
    """A model with all that is timed of it.

    Attributes:
      parameters: how many it has.
      elements: of its frame, which it is averaged over in evaluation and dynamics.
      calls: what is timed, and how many steps or molecules one call is.
    """

    parameters: int
    elements: int
    calls: dict[str, tuple[Call, int]]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and prints the tables, and writes them with their numbers if a folder is given.

    Args:
      arguments: the command line, that of the process by default.
    """
    options = _parser().parse_args(arguments)
    device = start(options.threads)
    console = Console()
    caption = (
        f"Ethanol in float32 on {device}; medians of {options.repeats} samples, taken in turn. "
        f"Networks {options.hidden} wide with {options.layers} layers, e3x {options.e3x_hidden} wide "
        f"with {options.e3x_layers}. Message passing is of degree 1, the others that have one of "
        "degree 2. In training, a step of the loop that trains, "
        f"{_STEPS} in a dispatch: errors of energies and forces, AdamW, moving average. Then averaged "
        f"over the whole frame: energies and forces of {options.molecules} molecules at a time, and "
        f"velocity Verlet in ASE with {_TIME_STEP} fs. In brackets: times as fast as e3x."
    )
    print_caption(console, caption)
    models = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in MODELS:
            console.print(f"compiling {name}", highlight=False)
            try:
                models[name] = _prepared(name, Path(folder), options)
            except UsageError as error:
                if name != _BASELINE:
                    raise
                console.print(f"left out: {error}", soft_wrap=True, highlight=False, markup=False)
    results = _times(models, options.repeats)
    tables = [_training_table(results, options.batches), _use_table(results)]
    console.print()
    print_tables(console, *tables)
    if options.out is not None:
        settings = {name: value for name, value in vars(options).items() if name != "out"}
        document = settings | {"device": device, "models": results}
        print_paths(console, write_report(options.out, "potentials", caption, tables, document))


def _parser() -> argparse.ArgumentParser:
    parser = make_parser(__doc__)
    parser.add_argument("--batches", type=positive, nargs="+", default=[5, 32], help="in training")
    parser.add_argument("--molecules", type=positive, default=100, help="evaluated at a time")
    parser.add_argument("--hidden", type=positive, default=64, help="width of the networks")
    parser.add_argument("--layers", type=positive, default=4, help="their layers")
    parser.add_argument("--e3x-hidden", type=positive, default=32, help="width of e3x")
    parser.add_argument("--e3x-layers", type=positive, default=3, help="layers of e3x")
    add_out(parser, "the tables and their numbers")
    return parser


def _prepared(name: str, folder: Path, options: argparse.Namespace) -> Model:
    tasks = [_task(name, folder, options, batch) for batch in options.batches]
    task, potential = tasks[0], tasks[0].potential
    state = _initial(task)
    calls = {}
    for batch, task_of_batch in zip(options.batches, tasks, strict=True):
        calls[f"batch {batch}"] = _training(task_of_batch, state), _STEPS
    # After some steps: the compiler could leave out what begins as zero, as in e3x.
    state, _ = calls[f"batch {options.batches[0]}"][0]()
    params = jax.tree.map(lambda leaf: leaf[0], state.params)
    test = {key: jnp.asarray(array) for key, array in task.splits["test"].items()}
    calls["evaluation"] = prepare(task.predict, params, test)[0], options.molecules
    calls["dynamics"] = functools.partial(_motion(task, params).run, _STEPS), _STEPS
    frame = jax.eval_shape(potential.frame, test["positions"][0], test["species"][0])
    count = sum(leaf.size for leaf in jax.tree.leaves(params))
    return Model(count, len(frame.weights), calls)


def _task(name: str, folder: Path, options: argparse.Namespace, batch: int) -> MoleculesTask:
    train, path = max(options.batches) * _STEPS, folder / "ethanol.npz"
    if not path.exists():
        _write(path, train + 1 + options.molecules)
    baseline = name == _BASELINE
    sizes = {
        "hidden": options.e3x_hidden if baseline else options.hidden,
        "layers": options.e3x_layers if baseline else options.layers,
    }
    counts = {"num_train": train, "num_valid": 1, "num_test": options.molecules}
    config = MoleculesConfig.model_validate(
        {
            "task": "molecules",
            "run": str(folder),
            "data": {"kind": "file", "path": str(path), **counts},
            "model": MODELS[name] | sizes,
            "train": {"epochs": 1, "batch_size": batch, "weight_decay": 1e-3, "ema": 0.999},
        }
    )
    return MoleculesTask(config)


def _write(path: Path, snapshots: int) -> None:
    """Snapshots of ethanol with its atoms moved at random, and with random labels."""
    atoms = ase.build.molecule("CH3CH2OH")
    draw = np.random.default_rng(0)
    shape = (snapshots, len(atoms), 3)
    np.savez(
        path,
        z=atoms.numbers,
        R=atoms.positions + _JITTER * draw.normal(size=shape),
        E=_WEAK * draw.normal(size=snapshots),
        F=_WEAK * draw.normal(size=shape),
    )


def _initial(task: MoleculesTask) -> State:
    optimizer = make_optimizer(task.config.train, task.config.num_steps)
    initial = functools.partial(initial_state, task, optimizer, task.config.train.ema is not None)
    return jax.jit(jax.vmap(initial))(jnp.zeros(1, jnp.int32))


def _training(task: MoleculesTask, state: State) -> Call:
    settings = task.config.train
    examples = {name: jnp.asarray(array) for name, array in task.splits["train"].items()}
    steps = functools.partial(
        take_steps,
        task=task,
        optimizer=make_optimizer(settings, task.config.num_steps),
        batch_size=settings.batch_size,
        ema=settings.ema,
        length=_STEPS,
    )

    def dispatch(state: State, seeds: Array, examples: Batch) -> tuple[State, Trace]:
        return map_seeds(task, lambda state, seed: steps(state, seed, examples), state, seeds)

    return prepare(dispatch, state, jnp.zeros(1, jnp.int32), examples)[0]


def _motion(task: MoleculesTask, params: PyTree[Array]) -> VelocityVerlet:
    atoms = ase.build.molecule("CH3CH2OH")
    # It moves whatever the forces are: atoms at rest are not evaluated again.
    atoms.set_velocities(_SLOW * np.random.default_rng(0).normal(size=(len(atoms), 3)))
    atoms.calc = SymmetrizedCalculator.of(task.potential, params)
    return VelocityVerlet(atoms, timestep=_TIME_STEP * units.fs)


def _times(models: Mapping[str, Model], repeats: int) -> dict[str, dict[str, Any]]:
    """The size of every model, and its milliseconds for a step or a molecule."""
    calls = {
        (name, kind): call
        for name, model in models.items()
        for kind, (call, _) in model.calls.items()
    }
    times = medians(calls, repeats)
    return {
        name: {
            "parameters": model.parameters,
            "elements": model.elements,
            "ms": {kind: times[name, kind] / count for kind, (_, count) in model.calls.items()},
        }
        for name, model in models.items()
    }


def _training_table(results: Mapping[str, Mapping[str, Any]], batches: Sequence[int]) -> Table:
    names = ["training", "parameters"]
    for batch in batches:
        names += [f"step, batch {batch}", "molecules/s"]
    rows = []
    for name, result in results.items():
        rows.append([name, f"{result['parameters']:,}"])
        for batch in batches:
            time = result["ms"][f"batch {batch}"]
            faster = _faster(results, name, f"batch {batch}")
            rows[-1] += [f"{time:.2f} ms{faster}", f"{1e3 * batch / time:,.0f}"]
    return Table(names, rows)


def _use_table(results: Mapping[str, Mapping[str, Any]]) -> Table:
    names = ["whole frame", "elements", "molecules/s", "step in ASE", "ns/day"]
    rows = []
    for name, result in results.items():
        rate, step = 1e3 / result["ms"]["evaluation"], result["ms"]["dynamics"]
        # Femtoseconds a millisecond, and milliseconds a day.
        days = 1e-6 * _TIME_STEP / step * 86_400_000
        rows.append(
            [
                name,
                f"{result['elements']}",
                f"{rate:,.0f}{_faster(results, name, 'evaluation')}",
                f"{step:.2f} ms",
                f"{days:.3g}{_faster(results, name, 'dynamics')}",
            ]
        )
    return Table(names, rows)


def _faster(results: Mapping[str, Mapping[str, Any]], name: str, kind: str) -> str:
    if _BASELINE not in results:
        return ""
    return f" ({results[_BASELINE]['ms'][kind] / results[name]['ms'][kind]:.2f})"
