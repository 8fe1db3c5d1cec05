"""The report of a run: one page with a table, learning curves and what the task draws."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments import figures
from experiments.config import Config
from experiments.config.load import dump_config
from experiments.errors import UsageError
from experiments.files import write_whole
from experiments.results.evaluate import evaluate, stored_evaluation
from experiments.runs.folder import RunFolder
from experiments.runs.restore import best_params, load_state
from experiments.table import markdown_table, number, spread
from experiments.tasks.registry import make_task
from experiments.training.state import State
from experiments.training.task import Task


def comparison(
    folders: Sequence[RunFolder], configs: Sequence[Config], results: Sequence[dict[str, Any]]
) -> tuple[list[str], list[list[str]]]:
    """The table of several runs: the test error of each with its equivariance error beside it.

    Raises:
      UsageError: if the error of the first run is one that another does not have.
    """
    kinds = list(dict.fromkeys(kind for result in results for kind in result["equivariance"]))
    metric = results[0]["metric"]
    names = ["run", "model", "parameters", "seeds", f"test {metric}"]
    names += [f"{kind} error" for kind in kinds]
    rows = []
    for folder, config, result in zip(folders, configs, results, strict=True):
        if metric not in result["mean"]:
            raise UsageError(
                f"{folder.path}: must have a test {metric}, as {folders[0].path} has, got "
                f"{', '.join(result['mean'])}: only runs that learn the same can be compared"
            )
        errors = [result["equivariance"].get(kind) for kind in kinds]
        rows.append(
            [
                folder.path.name,
                config.model.description,
                f"{result['parameters']:,}",
                str(len(result["seeds"])),
                spread(result["mean"][metric], result["deviation"][metric]),
                *("-" if error is None else f"{max(error):.1e}" for error in errors),
            ]
        )
    return names, rows


def write_report(
    config: Config,
    folder: RunFolder,
    task: Task,
    state: State,
    others: Sequence[RunFolder] = (),
) -> Path:
    """Writes `report.md` and its pictures into the folder of a run.

    Args:
      config: the configuration of the run.
      folder: the folder of the run, which has been evaluated.
      task: what was learnt; it draws too, with `report` and `compare`.
      state: the state of the run.
      others: the folders of runs to compare with.

    Returns:
      The path of the page.
    """
    folders, configs, results = [folder], [config], [_result(folder, config, task, state)]
    for other in others:
        folders.append(other)
        configs.append(other.load_config())
        results.append(_result(other, configs[-1]))
    names, rows = comparison(folders, configs, results)
    records = folder.read_metrics()
    result = results[0]
    pictures = [("Learning curves", _draw_curves(folder, config, task.metric, records))]
    # A logarithmic axis cannot show the error of a classifier that is always right.
    if all(other["mean"][result["metric"]] > 0 for other in results):
        pictures.append(("Test errors", _draw_errors(folder, folders, results, task.published)))
    names_of_runs = (compared.path.name for compared in folders)
    pictures += task.compare(folder.path, dict(zip(names_of_runs, results, strict=True)))
    pictures += task.report(best_params(state), folder.path)
    progress = f"step {result['step']} of {result['steps']}"
    seconds = records[-1]["seconds"] if records else 0.0
    parts = [
        f"# {folder.path.name}",
        f"Task `{config.task}`, {config.model.description}; {result['parameters']:,} parameters, "
        f"{progress}, {seconds:,.0f} s of training. Test errors are those of the weights with the "
        "lowest validation error, mean and sample deviation over seeds; equivariance errors are "
        "relative, the largest over seeds.",
        markdown_table(names, rows),
    ]
    if "committee" in result:
        error = number(result["committee"][result["metric"]])
        parts.append(
            f"The mean of what the seeds predict has a test {result['metric']} of {error}."
        )
    for title, path in pictures:
        where = os.path.relpath(path, folder.path)
        # A page cannot be shown in a page.
        mark = "" if path.suffix == ".html" else "!"
        parts.append(f"## {title}\n\n{mark}[{title}]({where})")
    parts.append(f"## Configuration\n\n```yaml\n{dump_config(config)}```")
    write_whole(folder.report, "\n\n".join(parts) + "\n")
    return folder.report


def _result(
    folder: RunFolder, config: Config, task: Task | None = None, state: State | None = None
) -> dict[str, Any]:
    result = stored_evaluation(folder)
    if result is None:
        task = make_task(config) if task is None else task
        state = load_state(config, folder, task, task.facts()) if state is None else state
        result = evaluate(config, folder, task, state)
    return result


def _draw_curves(
    folder: RunFolder, config: Config, metric: str, records: Sequence[dict[str, Any]]
) -> Path:
    path = folder.path / "learning_curves.png"
    steps = np.array([record["step"] for record in records], dtype=np.float64)
    figures.learning_curves(
        path,
        steps,
        np.array([record["loss"] for record in records]).T,
        steps,
        np.array([record["valid"][metric] for record in records]).T,
        loss_name=f"training loss ({config.train.loss})",
        error_name=f"validation {metric}",
    )
    return path


def _draw_errors(
    folder: RunFolder,
    folders: Sequence[RunFolder],
    results: Sequence[dict[str, Any]],
    published: Mapping[str, float],
) -> Path:
    path = folder.path / "test_errors.png"
    metric = results[0]["metric"]
    figures.error_bars(
        path,
        [compared.path.name for compared in folders],
        np.array([result["mean"][metric] for result in results]),
        np.array([result["deviation"][metric] or 0.0 for result in results]),
        published=published,
        error_name=f"test {metric}",
    )
    return path
