"""The result of a run: test errors at the best validation, and equivariance errors."""

import json
import statistics
from collections.abc import Callable
from typing import Any

import jax
from jaxtyping import Array, PyTree
from rich.console import Console

from experiments.config import Config
from experiments.files import write_whole
from experiments.runs.checkpoint import Checkpoints
from experiments.runs.folder import RunFolder
from experiments.runs.restore import seed_params
from experiments.table import number, print_table
from experiments.training.hosts import is_first
from experiments.training.mesh import DATA, OF_CHUNKS, WHOLE, make_mesh, on_devices, on_each_device
from experiments.training.metrics import Chunks, cut, mean_metrics
from experiments.training.state import State, map_seeds
from experiments.training.task import Task

_EQUIVARIANCE_EXAMPLES = 100


def evaluate(config: Config, folder: RunFolder, task: Task, state: State) -> dict[str, Any]:
    """Evaluates the best weights of every seed, and stores the result in the run folder.

    Args:
      config: the configuration of the run.
      folder: the folder of the run.
      task: what was learnt.
      state: the state of the run, from `load_state` or from training.

    Returns:
      What `measure` returns, which is what is stored.
    """
    result = measure(config, task, state)
    if is_first():
        write_whole(folder.evaluation, json.dumps(result, indent=2) + "\n")
    return result


def measure(config: Config, task: Task, state: State) -> dict[str, Any]:
    """Evaluates the best weights of every seed.

    Args:
      config: the configuration.
      task: what was learnt, with the model to evaluate.
      state: the state of the run.

    Returns:
      `test`, every metric of each seed, with its `mean` and `deviation` over seeds
      (the sample deviation, `None` for a single seed); `equivariance`, every kind of error of each
      seed; what they belong to; for a task that has one, its `profile` of each seed; and for a task
      that has one, and several seeds, every metric of its `committee`, which predicts the mean of
      what they predict.

    Raises:
      UsageError: if the frame of a test example has no room, by `Task.check_room`.
    """
    task.check_room("test")
    mesh = make_mesh(config.mesh)
    axis = None if mesh is None else DATA
    chunks = cut(task.splits["test"], config.train.evaluation_batch_size, mesh)
    best = on_devices(jax.device_get(state.best), mesh)

    def means_of_seeds(best: PyTree, chunks: Chunks) -> dict[str, Array]:
        return map_seeds(task, lambda params: mean_metrics(task, params, chunks, axis), best)

    def measured(means: Callable[..., dict[str, Array]]) -> dict[str, Array]:
        return jax.jit(on_each_device(means, mesh, (WHOLE, OF_CHUNKS)))(best, chunks)

    metrics = measured(means_of_seeds)
    test = {name: values.tolist() for name, values in metrics.items()}
    weights = [seed_params(state, index) for index in range(len(config.train.seeds))]
    test_split = task.splits["test"]
    batch = jax.device_put({k: array[:_EQUIVARIANCE_EXAMPLES] for k, array in test_split.items()})
    errors = [task.equivariance(params, batch, jax.random.key(0)) for params in weights]
    result = {
        "metric": task.metric,
        "seeds": list(config.train.seeds),
        "step": int(state.step[0]),
        "steps": config.num_steps,
        "parameters": state.parameters,
        "best_step": state.best_step.tolist(),
        "valid": state.best_metric.tolist(),
        "test": test,
        "mean": {name: statistics.fmean(values) for name, values in test.items()},
        "deviation": {
            name: statistics.stdev(values) if len(values) > 1 else None
            for name, values in test.items()
        },
        "equivariance": {kind: [float(of_seed[kind]) for of_seed in errors] for kind in errors[0]},
    }
    profiles = [task.profile(params) for params in weights]
    if None not in profiles:
        result["profile"] = profiles
    committee = task.committee() if len(weights) > 1 else None
    if committee is not None:
        means = measured(lambda best, chunks: mean_metrics(committee, best, chunks, axis))
        result["committee"] = {name: float(value) for name, value in means.items()}
    return result


def stored_evaluation(folder: RunFolder) -> dict[str, Any] | None:
    """The evaluation in a run folder, if it is that of the newest checkpoint."""
    steps = Checkpoints(folder.checkpoints).steps()
    try:
        result = json.loads(folder.evaluation.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return result if steps and result["step"] == steps[0] else None


def print_evaluation(console: Console, result: dict[str, Any]) -> None:
    """Prints the result of each seed, and their mean and deviation."""
    metrics, kinds = list(result["test"]), list(result["equivariance"])
    names = ["seed", "best step", f"valid {result['metric']}"]
    names += [f"test {name}" for name in metrics] + [f"{kind} error" for kind in kinds]
    rows = []
    for row, seed in enumerate(result["seeds"]):
        numbers = [number(column[row]) for column in (result["valid"], *result["test"].values())]
        numbers += [f"{column[row]:.1e}" for column in result["equivariance"].values()]
        rows.append([str(seed), str(result["best_step"][row]), *numbers])
    blank = [""] * len(kinds)
    for label in ("mean", "deviation", "committee"):
        if label in result:
            numbers = [number(result[label][name]) for name in metrics]
            rows.append([label, "", "", *numbers, *blank])
    print_table(console, names, rows)
    if result["step"] < result["steps"]:
        console.print(f"the run is at step {result['step']} of {result['steps']}", soft_wrap=True)
