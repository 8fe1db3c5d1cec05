"""Errors of trained models on planar and nearly degenerate molecules, against those on the rest.

Run with `python -m experiments benchmark shapes RUN [RUN ...] --out DIR`; the runs are of the task
`molecules`, and each is measured on its own test set.
"""

import argparse
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key, PyTree
from rich.console import Console

import symjax_frames as sf
from experiments.benchmarks.options import add_out
from experiments.benchmarks.report import (
    Table,
    print_caption,
    print_paths,
    print_tables,
    write_report,
)
from experiments.errors import UsageError
from experiments.runs.folder import RunFolder
from experiments.runs.restore import load_state, seed_params
from experiments.table import number
from experiments.tasks.molecules.config import MoleculesConfig
from experiments.tasks.molecules.quantities import QUANTITIES
from experiments.tasks.molecules.task import MoleculesTask
from experiments.tasks.registry import make_task
from experiments.training.metrics import cut
from experiments.training.task import Batch

_FLAT = 1e-4
"""A molecule is planar if its smallest variance along an axis is below this part of the largest."""
_NEAR = 0.01
"""A molecule is nearly degenerate if a gap of two variances is below this part of the largest."""
_JITTER = 1e-3
"""In Angstrom, by how much each coordinate is moved at random (its standard deviation)."""
_DRAWS = 2
"""Random motions and random moves that are tried on each molecule."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints a table, and writes it with its numbers if a folder is given.

    Args:
      arguments: the command line, that of the process by default.

    Raises:
      UsageError: a run is not as it must be.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", metavar="RUN", nargs="+", type=Path, help="folder of a run")
    add_out(parser)
    options = parser.parse_args(arguments)
    console = Console()
    results = {str(path): measure(RunFolder(path)) for path in options.runs}
    caption = (
        "Test errors of the best weights of the first seed, by the shape of the molecule. Planar: "
        f"smallest variance along an axis below {_FLAT:g} of the largest; nearly degenerate: two "
        f"variances closer than {_NEAR:g} of the largest. Invariance: change of the prediction under "
        f"random motions and reflections, and moved: when coordinates move by {_JITTER:g} Angstrom at "
        f"random, each the largest of {_DRAWS} draws of a molecule."
    )
    table = _table(results)
    print_caption(console, caption)
    print_tables(console, table)
    if options.out is not None:
        print_paths(console, write_report(options.out, "shapes", caption, [table], results))


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
      The `metric`, and `shapes` to the number of `molecules` and to the `error` (a mean), the
      changes under motions (`invariance`, `invariance worst`) and under small moves (`moved`,
      `moved worst`), in the unit of the metric: the mean and the largest over molecules.

    Raises:
      UsageError: if the run is of another task, or was not validated yet.
    """
    config = folder.load_config()
    if not isinstance(config, MoleculesConfig):
        raise UsageError(
            f"{folder.path}: must be a run of the task 'molecules', got one of {config.task!r}"
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
    changes = {name: np.asarray(values)[real] for name, values in all_changes(params).items()}
    by_shape: dict[str, Any] = {}
    for shape, chosen in shapes(test["positions"], test["species"] > 0).items():
        of_shape: dict[str, Any] = {"molecules": int(chosen.sum())}
        for name, values in changes.items():
            of_shape[name] = float(values[chosen].mean()) if chosen.any() else None
            if name != "error":
                of_shape[f"{name} worst"] = float(values[chosen].max()) if chosen.any() else None
        by_shape[shape] = of_shape
    return {"metric": task.metric, "shapes": by_shape}


def _changes(
    task: MoleculesTask, params: PyTree[Array], batch: Batch, keys: Key[Array, " examples"]
) -> dict[str, Float[Array, " examples"]]:
    """The error of each molecule, and the largest changes of what is predicted of it."""
    error = functools.partial(task.evaluate, params)
    labels = task.predict(params, batch)
    motions = sf.euclidean(3)
    positions = batch["positions"]

    def moved(draw: Array) -> tuple[Array, Array]:
        drawn = jax.vmap(functools.partial(jax.random.fold_in, data=draw))(keys)
        elements = jax.vmap(lambda key: motions.draw(key, positions.dtype))(drawn)
        turned = batch | labels | {"positions": jax.vmap(sf.points.push)(elements, positions)}
        for name, values in labels.items():
            action = QUANTITIES[name].action
            if action is not None:
                turned[name] = jax.vmap(action.push)(elements, values)
        shape, dtype = positions.shape[1:], positions.dtype
        noise = jax.vmap(lambda key: jax.random.normal(key, shape, dtype))(drawn)
        shaken = batch | labels | {"positions": positions + _JITTER * noise}
        return error(turned)[task.metric], error(shaken)[task.metric]

    turns, moves = jax.lax.map(moved, jnp.arange(_DRAWS))
    return {
        "error": error(batch)[task.metric],
        "invariance": jnp.max(turns, axis=0),
        "moved": jnp.max(moves, axis=0),
    }


def _table(results: dict[str, Any]) -> Table:
    columns = ("error", "invariance", "invariance worst", "moved", "moved worst")
    rows = [
        [run, of_run["metric"], shape, str(of_shape["molecules"])]
        + [number(of_shape[name]) for name in columns]
        for run, of_run in results.items()
        for shape, of_shape in of_run["shapes"].items()
    ]
    return Table(["run", "metric", "shape", "molecules", *columns], rows)
