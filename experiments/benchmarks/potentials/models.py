"""The potentials that are timed, with compiled steps of training, evaluation and dynamics."""

import argparse
import functools
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ase import units
from ase.md.verlet import VelocityVerlet
from jaxtyping import Array, PyTree

from experiments.benchmarks.timing import Call, prepare
from experiments.tasks.molecules.calculator import SymmetrizedCalculator
from experiments.tasks.molecules.config import MoleculesConfig
from experiments.tasks.molecules.data.names import molecule_named
from experiments.tasks.molecules.task import MoleculesTask
from experiments.training.optimizer import make_optimizer
from experiments.training.state import State, initial_state, map_seeds
from experiments.training.steps import Trace, take_steps
from experiments.training.task import Batch

BASELINE = "e3x"
_SAMPLED = {"frame": "pca", "training_average": "sampled"}
_ROBUST = {
    "frame": "robust",
    "max_elements": 20,
    "threshold": 0.75,
    "training_threshold": 0.25,
    "training_average": "sampled",
}
_LOCAL = {"frame": "local", "max_elements": 96, "threshold": 0.5, "training_average": "sampled"}
_MESSAGES = {"backbone": "message_passing", "degree": 1}
# As in the configurations of ethanol, where there is one.
MODELS: dict[str, dict[str, Any]] = {
    "message passing, PCA, sampled": _MESSAGES | _SAMPLED,
    "message passing, robust, sampled": _MESSAGES | _ROBUST,
    "message passing, robust without reflections, sampled": _MESSAGES | _ROBUST | {"group": "SE"},
    "message passing, local, sampled": _MESSAGES | {"cutoff": 4.0} | _LOCAL,
    "message passing, local in one frame, sampled": (
        _MESSAGES | {"cutoff": 5.0, "messages": "in_one_frame"} | _LOCAL
    ),
    "message passing, PCA, full": _MESSAGES | {"frame": "pca"},
    "message passing, augmented": _MESSAGES | {"augmentation": "reflections"},
    "transformer, PCA, sampled": {"backbone": "transformer", **_SAMPLED},
    "point sum, PCA, sampled": {"backbone": "point_sum", **_SAMPLED},
    BASELINE: {"backbone": "e3x"},
}
"""The models that are compared, by name: the model section of each, without the sizes."""

STEPS = 10
"""Steps of training in a dispatch, and steps of dynamics in a sample."""
TIME_STEP = 0.5
"""In femtoseconds."""
_JITTER = 0.05
"""Standard deviation of the coordinates of an atom, in Angstrom."""
_SLOW = 1e-3
"""Standard deviation of the velocities, in angstrom per ASE unit of time: a carbon at 0.1 K."""
_WEAK = 1e-4
"""Size of the labels in eV and Angstrom: so weak that a molecule keeps its shape."""


class Model(NamedTuple):
    """A model with all that is timed of it.

    Attributes:
      parameters: how many it has.
      elements: of its frame, which it is averaged over in evaluation and dynamics; of local frames
        the most of an atom.
      calls: what is timed, and how many steps or molecules one call is.
    """

    parameters: int
    elements: int
    calls: dict[str, tuple[Call, int]]


def prepared(name: str, folder: Path, options: argparse.Namespace) -> Model:
    """Compiles all that is timed of a model.

    Args:
      name: a key of `MODELS`.
      folder: for the data that it is trained on.
      options: sizes of the networks, `batches` in training, `molecules` in evaluation and `rattle`,
        how far atoms are from their places at the start of dynamics.

    Raises:
      UsageError: a package that the model needs is not installed.
    """
    tasks = [_task(name, folder, options, batch) for batch in options.batches]
    task, potential = tasks[0], tasks[0].potential
    state = _initial(task)
    calls = {}
    for batch, task_of_batch in zip(options.batches, tasks, strict=True):
        calls[f"batch {batch}"] = _training(task_of_batch, state), STEPS
    # After some steps: the compiler could leave out what begins as zero, as in e3x.
    state, _ = calls[f"batch {options.batches[0]}"][0]()
    params = jax.tree.map(lambda leaf: leaf[0], state.params)
    test = {key: jnp.asarray(array) for key, array in task.splits["test"].items()}
    calls["evaluation"] = prepare(task.predict, params, test)[0], options.molecules
    calls["dynamics"] = functools.partial(_motion(task, params, options.rattle).run, STEPS), STEPS
    elements = potential.config.max_elements
    if potential.reach is None:
        frame = jax.eval_shape(potential.frame, test["positions"][0], test["species"][0])
        elements = len(frame.weights)
    count = sum(leaf.size for leaf in jax.tree.leaves(params))
    return Model(count, elements, calls)


def _task(name: str, folder: Path, options: argparse.Namespace, batch: int) -> MoleculesTask:
    train, path = max(options.batches) * STEPS, folder / "ethanol.npz"
    if not path.exists():
        _write(path, train + 1 + options.molecules)
    baseline = name == BASELINE
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
    atoms = molecule_named("ethanol")
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
        length=STEPS,
    )

    def dispatch(state: State, seeds: Array, examples: Batch) -> tuple[State, Trace]:
        return map_seeds(task, lambda state, seed: steps(state, seed, examples), state, seeds)

    return prepare(dispatch, state, jnp.zeros(1, jnp.int32), examples)[0]


def _motion(task: MoleculesTask, params: PyTree[Array], rattle: float) -> VelocityVerlet:
    atoms = molecule_named("ethanol")
    atoms.rattle(rattle, seed=1)
    # It moves whatever the forces are: atoms at rest are not evaluated again.
    atoms.set_velocities(_SLOW * np.random.default_rng(0).normal(size=(len(atoms), 3)))
    atoms.calc = SymmetrizedCalculator.of(task.potential, params)
    return VelocityVerlet(atoms, timestep=TIME_STEP * units.fs)
