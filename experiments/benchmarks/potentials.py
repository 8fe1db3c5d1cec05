"""Speed of potentials on ethanol: training, evaluation and dynamics, against an equivariant network.

Run with `python -m experiments benchmark potentials --out DIR`, on a machine that does nothing else.
"""

import argparse
import functools
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import ase.build
import jax
import jax.numpy as jnp
import numpy as np
from ase import units
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from ase.md.verlet import VelocityVerlet
from jaxtyping import Array, PyTree
from rich.console import Console

from experiments.benchmarks._options import new_folder, positive
from experiments.benchmarks._timing import Call, make_parser, medians, prepare, start
from experiments.errors import UsageError
from experiments.results.table import markdown_table, print_table
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
_WEAK = 1e-4
"""Size of the labels in eV and Angstrom: a molecule that feels such forces stays in shape."""


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
    console.print(caption, soft_wrap=True, highlight=False)
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
    found = _times(models, options.repeats)
    tables = [_training_table(found, options.batches), _use_table(found)]
    for names, rows in tables:
        console.print()
        print_table(console, names, rows)
    if options.out is None:
        return
    page = "\n\n".join([caption, *(markdown_table(*table) for table in tables)])
    (options.out / "potentials.md").write_text(f"{page}\n", encoding="utf-8")
    settings = {name: value for name, value in vars(options).items() if name != "out"}
    document = settings | {"device": device, "models": found}
    (options.out / "potentials.json").write_text(json.dumps(document, indent=2) + "\n")
    for name in ("potentials.md", "potentials.json"):
        console.print(f"{options.out / name}", soft_wrap=True)


def _parser() -> argparse.ArgumentParser:
    parser = make_parser(__doc__)
    parser.add_argument("--batches", type=positive, nargs="+", default=[5, 32], help="in training")
    parser.add_argument("--molecules", type=positive, default=100, help="evaluated at a time")
    parser.add_argument("--hidden", type=positive, default=64, help="width of the networks")
    parser.add_argument("--layers", type=positive, default=4, help="their layers")
    parser.add_argument("--e3x-hidden", type=positive, default=32, help="width of e3x")
    parser.add_argument("--e3x-layers", type=positive, default=3, help="layers of e3x")
    parser.add_argument("--out", type=new_folder, help="the folder to write the tables to")
    return parser


def _prepared(name: str, folder: Path, options: argparse.Namespace) -> Model:
    tasks = [_task(name, folder, options, batch) for batch in options.batches]
    task, potential = tasks[0], tasks[0].potential
    state = _initial(task)
    calls = {}
    for batch, each in zip(options.batches, tasks, strict=True):
        calls[f"batch {batch}"] = _training(each, state), _STEPS
    # After some steps, or what begins as zero, as in e3x, could be left out of the computation.
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


def _write(path: Path, frames: int) -> None:
    """Ethanol, shaken, with labels that mean nothing."""
    atoms = ase.build.molecule("CH3CH2OH")
    draw = np.random.default_rng(0)
    shape = (frames, len(atoms), 3)
    np.savez(
        path,
        z=atoms.numbers,
        R=atoms.positions + _JITTER * draw.normal(size=shape),
        E=_WEAK * draw.normal(size=frames),
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
    # Whatever the forces are, it moves: atoms at rest are not evaluated again.
    MaxwellBoltzmannDistribution(atoms, temperature_K=1, rng=np.random.default_rng(0))
    atoms.calc = SymmetrizedCalculator.of(task.potential, params)
    return VelocityVerlet(atoms, timestep=_TIME_STEP * units.fs)


def _times(models: Mapping[str, Model], repeats: int) -> dict[str, dict[str, Any]]:
    """Of every model what it is, and its milliseconds a step or a molecule by what is timed."""
    calls = {
        (name, kind): call
        for name, each in models.items()
        for kind, (call, _) in each.calls.items()
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


def _training_table(
    found: Mapping[str, Mapping[str, Any]], batches: Sequence[int]
) -> tuple[list[str], list[list[str]]]:
    names = ["training", "parameters"]
    for batch in batches:
        names += [f"step, batch {batch}", "molecules/s"]
    rows = []
    for name, each in found.items():
        rows.append([name, f"{each['parameters']:,}"])
        for batch in batches:
            time = each["ms"][f"batch {batch}"]
            faster = _faster(found, name, f"batch {batch}")
            rows[-1] += [f"{time:.2f} ms{faster}", f"{1e3 * batch / time:,.0f}"]
    return names, rows


def _use_table(found: Mapping[str, Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    names = ["whole frame", "elements", "molecules/s", "step in ASE", "ns/day"]
    rows = []
    for name, each in found.items():
        rate, step = 1e3 / each["ms"]["evaluation"], each["ms"]["dynamics"]
        # Femtoseconds a millisecond, and milliseconds a day.
        days = 1e-6 * _TIME_STEP / step * 86_400_000
        rows.append(
            [
                name,
                f"{each['elements']}",
                f"{rate:,.0f}{_faster(found, name, 'evaluation')}",
                f"{step:.2f} ms",
                f"{days:.3g}{_faster(found, name, 'dynamics')}",
            ]
        )
    return names, rows


def _faster(found: Mapping[str, Mapping[str, Any]], name: str, kind: str) -> str:
    if _BASELINE not in found:
        return ""
    return f" ({found[_BASELINE]['ms'][kind] / found[name]['ms'][kind]:.2f})"


if __name__ == "__main__":
    main()
