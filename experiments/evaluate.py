"""The result of a run: test errors at the best validation, and equivariance errors."""

import json
import statistics
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, PyTree
from rich.console import Console

from experiments.checkpoint import Checkpoints
from experiments.config import Config
from experiments.errors import UsageError
from experiments.metrics import Chunks, cut, mean_metrics
from experiments.run import RunFolder, write_whole
from experiments.session import begin
from experiments.state import State, map_seeds
from experiments.table import number, print_table
from experiments.tasks._task import Initialized, Task

_EQUIVARIANCE_EXAMPLES = 100


def load_state(config: Config, folder: RunFolder, task: Initialized) -> State:
    """Reads the state of a run that has been validated at least once.

    Raises:
      UsageError: if the run has not come that far, or its data are no longer those it began with.
    """
    facts = getattr(task, "facts", None)
    if facts is not None:
        folder.check_facts(facts._asdict())
    checkpoints = Checkpoints(folder.checkpoints)
    if not checkpoints.steps():
        raise UsageError(f"{folder.path}: has no checkpoint yet; train it first")
    state, _ = begin(config, task, checkpoints)
    if not np.all(np.isfinite(np.asarray(state.best_metric))):
        raise UsageError(f"{folder.path}: was not validated yet; train it further first")
    return state


def seed_params(state: State, place: int) -> PyTree:
    """The best weights of the seed at a place among the seeds."""
    return jax.tree.map(lambda leaf: leaf[place], state.best)


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
      seed; what they belong to; for a task that has one, its `profile` of each seed: angles and
      the error at each; and for a task that has one, and several seeds, every metric of its
      `committee`, which predicts the mean of what they predict.
    """
    chunks = cut(task.splits["test"], config.train.evaluation_batch_size)

    @jax.jit
    def means(best: PyTree, chunks: Chunks) -> dict[str, Array]:
        return map_seeds(task, lambda params: mean_metrics(task, params, chunks), best)

    metrics = means(state.best, chunks)
    test = {name: values.tolist() for name, values in metrics.items()}
    batch = {
        name: jax.numpy.asarray(array[:_EQUIVARIANCE_EXAMPLES])
        for name, array in task.splits["test"].items()
    }
    weights = [seed_params(state, place) for place in range(len(config.train.seeds))]
    errors = [task.equivariance(params, batch, jax.random.key(0)) for params in weights]
    result = {
        "metric": task.metric,
        "seeds": list(config.train.seeds),
        "step": int(state.step[0]),
        "steps": config.num_steps,
        "parameters": sum(leaf[0].size for leaf in jax.tree.leaves(state.best)),
        "best_step": state.best_step.tolist(),
        "valid": state.best_metric.tolist(),
        "test": test,
        "mean": {name: statistics.fmean(values) for name, values in test.items()},
        "deviation": {
            name: statistics.stdev(values) if len(values) > 1 else None
            for name, values in test.items()
        },
        "equivariance": {kind: [float(each[kind]) for each in errors] for kind in errors[0]},
    }
    profile = getattr(task, "profile", None)
    if profile is not None:
        result["profile"] = [profile(params) for params in weights]
    committee = getattr(task, "committee", None)
    if committee is not None and len(weights) > 1:
        together = committee()
        found = jax.jit(lambda best: mean_metrics(together, best, chunks))(state.best)
        result["committee"] = {name: float(value) for name, value in found.items()}
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
    for place, seed in enumerate(result["seeds"]):
        numbers = [number(each[place]) for each in (result["valid"], *result["test"].values())]
        numbers += [f"{each[place]:.1e}" for each in result["equivariance"].values()]
        rows.append([str(seed), str(result["best_step"][place]), *numbers])
    blank = [""] * len(kinds)
    for label in ("mean", "deviation", "committee"):
        if label in result:
            numbers = [number(result[label][name]) for name in metrics]
            rows.append([label, "", "", *numbers, *blank])
    print_table(console, names, rows)
    if result["step"] < result["steps"]:
        console.print(f"the run is at step {result['step']} of {result['steps']}", soft_wrap=True)
