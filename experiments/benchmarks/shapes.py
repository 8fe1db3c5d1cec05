"""Errors of trained models on planar and nearly degenerate molecules, against those on the rest.

Run with `python -m experiments benchmark shapes RUN [RUN ...] --out DIR`; the runs are of the task
`molecules`, and each is measured on its own test set.
"""

import argparse
import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key, PyTree
from rich.console import Console

import symjax_frames as sf
from experiments.benchmarks._options import new_folder
from experiments.errors import ExperimentError, UsageError
from experiments.results.table import markdown_table, number, print_table
from experiments.runs.folder import RunFolder
from experiments.runs.restore import load_state, seed_params
from experiments.tasks.molecules.config import MoleculesConfig
from experiments.tasks.molecules.potential import ACTIONS
from experiments.tasks.molecules.task import MoleculesTask
from experiments.tasks.registry import make_task
from experiments.training.metrics import cut
from experiments.training.task import Batch

_FLAT = 1e-4
"""The smallest variance along an axis, relative to the largest, below which a molecule is planar."""
_NEAR = 0.01
"""The gap of two variances, relative to the largest, below which a molecule is nearly degenerate."""
_JITTER = 1e-3
"""In Angstrom, by how much each coordinate is moved at random (its standard deviation)."""
_DRAWS = 2
"""Random motions and random moves that are tried on each molecule."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints a table, and writes it with its numbers if a folder is given.

    Args:
      arguments: the command line, that of the process by default.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", metavar="RUN", nargs="+", type=Path, help="folder of a run")
    parser.add_argument(
        "--out", type=new_folder, help="the folder to write the table and its numbers in"
    )
    options = parser.parse_args(arguments)
    console = Console()
    try:
        found = {str(path): measure(RunFolder(path)) for path in options.runs}
    except ExperimentError as error:
        parser.exit(error.exit_code, f"error: {error}\n")
    caption = (
        "Test errors of the best weights of the first seed, by the shape of the molecule. Planar: "
        f"smallest variance along an axis below {_FLAT:g} of the largest; nearly degenerate: two "
        f"variances closer than {_NEAR:g} of the largest. Invariance: change of the prediction under "
        f"random motions and reflections, and moved: when coordinates move by {_JITTER:g} Angstrom at "
        f"random, each the largest of {_DRAWS} draws of a molecule."
    )
    console.print(caption, soft_wrap=True)
    names, rows = _table(found)
    print_table(console, names, rows)
    if options.out is not None:
        (options.out / "shapes.md").write_text(f"{caption}\n\n{markdown_table(names, rows)}\n")
        (options.out / "shapes.json").write_text(json.dumps(found, indent=2) + "\n")


def shapes(
    positions: Float[np.ndarray, "examples atoms 3"], real: Bool[np.ndarray, "examples atoms"]
) -> dict[str, Bool[np.ndarray, " examples"]]:
    """Which molecules are planar, which else are nearly degenerate, and the rest."""
    weights = real[..., None] / real.sum(axis=1)[:, None, None]
    centred = positions - np.sum(weights * positions, axis=1, keepdims=True)
    covariance = np.einsum("eai,eaj->eij", weights * centred, centred)
    variances = np.linalg.eigvalsh(covariance)
    variances /= np.maximum(variances[:, 2:], np.finfo(float).tiny)
    planar = variances[:, 0] < _FLAT
    near = ~planar & (np.min(np.diff(variances, axis=1), axis=1) < _NEAR)
    return {"planar": planar, "nearly degenerate": near, "rest": ~(planar | near)}


def measure(folder: RunFolder) -> dict[str, Any]:
    """Test errors of a run by shape.

    Returns:
      The `metric`, and `shapes` to the number of `molecules` and to the `error` (a mean), the changes
      under motions (`invariance`, `invariance worst`) and under small moves (`moved`, `moved worst`),
      in the unit of the metric: the mean and the largest over molecules.

    Raises:
      UsageError: if the run is of another task, or was not validated yet.
    """
    config = folder.load_config()
    if not isinstance(config, MoleculesConfig):
        raise UsageError(
            f"{folder.path}: is a run of the task {config.task!r}; allowed: one of 'molecules'"
        )
    task = make_task(config)
    assert isinstance(task, MoleculesTask)
    params = seed_params(load_state(config, folder, task), 0)
    test = task.splits["test"]
    chunks = cut(test, config.train.evaluation_batch_size)
    keys = jax.random.split(jax.random.key(0), chunks.real.shape)

    @jax.jit
    def all_changes(params: PyTree[Array]) -> dict[str, Array]:
        return jax.lax.map(
            lambda chunk: _changes(task, params, chunk[0], chunk[1]), (chunks.examples, keys)
        )

    real = np.asarray(chunks.real)
    each = {name: np.asarray(values)[real] for name, values in all_changes(params).items()}
    found: dict[str, Any] = {"metric": task.metric, "shapes": {}}
    for shape, chosen in shapes(test["positions"], test["species"] > 0).items():
        of_shape: dict[str, Any] = {"molecules": int(chosen.sum())}
        for name, values in each.items():
            of_shape[name] = float(values[chosen].mean()) if chosen.any() else None
            if name != "error":
                of_shape[f"{name} worst"] = float(values[chosen].max()) if chosen.any() else None
        found["shapes"][shape] = of_shape
    return found


def _changes(
    task: MoleculesTask, params: PyTree[Array], batch: Batch, keys: Key[Array, " examples"]
) -> dict[str, Float[Array, " examples"]]:
    """The error of each molecule, and the largest changes of what is predicted of it."""
    error = functools.partial(task.evaluate, params)
    labels = task.predict(params, batch)
    motions = sf.euclidean(3)
    positions = batch["positions"]

    def moved(draw: Array) -> tuple[Array, Array]:
        some = jax.vmap(functools.partial(jax.random.fold_in, data=draw))(keys)
        elements = jax.vmap(lambda key: motions.draw(key, positions.dtype))(some)
        turned = batch | labels | {"positions": jax.vmap(sf.points.push)(elements, positions)}
        for name in ACTIONS.keys() & labels.keys():
            turned[name] = jax.vmap(ACTIONS[name].push)(elements, labels[name])
        noise = jax.vmap(lambda key: jax.random.normal(key, positions.shape[1:], positions.dtype))(
            some
        )
        shaken = batch | labels | {"positions": positions + _JITTER * noise}
        return error(turned)[task.metric], error(shaken)[task.metric]

    turns, moves = jax.lax.map(moved, jnp.arange(_DRAWS))
    return {
        "error": error(batch)[task.metric],
        "invariance": jnp.max(turns, axis=0),
        "moved": jnp.max(moves, axis=0),
    }


def _table(found: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    columns = ("error", "invariance", "invariance worst", "moved", "moved worst")
    rows = [
        [run, of_run["metric"], shape, str(each["molecules"])]
        + [number(each[name]) for name in columns]
        for run, of_run in found.items()
        for shape, each in of_run["shapes"].items()
    ]
    return ["run", "metric", "shape", "molecules", *columns], rows
