"""Measures what a function or a trained model breaks, on hard inputs too, and prints it."""

import argparse
import functools
import importlib
import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

import symjax_frames as sf
from experiments.errors import UsageError
from experiments.files import write_whole
from experiments.runs.folder import RunFolder
from experiments.runs.restore import best_params, load_state
from experiments.table import print_table
from experiments.tasks.registry import make_task
from experiments.training.task import Audited
from symjax_frames.testing import Audit, audit

_RETURNS = {"scalars": None, "vectors": sf.vectors, "points": sf.points}
_LEGEND = (
    "Errors are relative: rounding leaves about {rounding:.0e}. jump, crossing: the largest jump along "
    "random lines, and where two principal axes change places. gradient: against central differences. "
    "asymmetry: of the Jacobian of the forces, zero if they conserve energy."
)
_DEGREES = "How the output turns with the cloud: parts of its energy; all in l = 0 is equivariant."


def audit_target(options: argparse.Namespace, console: Console) -> None:
    """Audits what the command line names, prints the tables and writes the JSON.

    Args:
      options: `target`, `group`, `returns`, `average`, `json`, `seed` and `float64`.
      console: where to print.

    Raises:
      UsageError: if there is no such target, or it cannot be called as asked.
    """
    path = Path(options.target)
    # Checkpoints are read in the precision they were written in.
    model = _model(path, options) if path.is_dir() else None
    with jax.enable_x64(options.float64):
        dtype = jnp.dtype("float64" if options.float64 else "float32")
        what = _function(options) if model is None else model(dtype)
        measured = _audit(what, options, dtype)
    _print(console, options, measured)
    if options.json is not None:
        record = {"target": options.target, "average": options.average, **measured.as_dict()}
        try:
            write_whole(options.json, json.dumps(record, indent=2, allow_nan=False) + "\n")
        except OSError as error:
            raise UsageError(
                f"--json: {options.json}: cannot be written: {error.strerror}"
            ) from None


def _audit(what: Audited, options: argparse.Namespace, dtype: Any) -> Audit:
    group = options.group or what.group
    actions = {"in_actions": what.in_actions, "out_actions": what.out_actions}
    fn = what.fn
    if options.average is not None:
        frame = functools.partial(getattr(sf, f"{options.average}_frame"), group=group)
        fn = jax.jit(sf.frame_average(fn, frame, **actions))
    try:
        return audit(
            fn,
            what.clouds,
            arguments=what.arguments,
            **actions,
            key=jax.random.key(options.seed),
            group=group,
            dtype=dtype,
        )
    except ValueError as error:
        raise UsageError(f"{options.target}: {error}") from error
    except SystemExit as error:
        raise UsageError(
            f"{options.target}: must return what is audited, got a function that ends the "
            f"process, {_ended(error)}"
        ) from error


def _function(options: argparse.Namespace) -> Audited:
    """The function that `package.module:function` or `file.py:function` names."""
    module_name, separator, name = options.target.rpartition(":")
    if not separator or not module_name or not name:
        raise UsageError(
            "TARGET must be package.module:function, file.py:function or the folder of a run, got "
            f"{options.target}"
        )
    try:
        module = _import(module_name)
    except UsageError:
        raise
    except SystemExit as error:
        raise UsageError(
            f"{module_name}: must be a module that can be imported, got a script that ends the "
            f"process, {_ended(error)} (what it does when it is run must stand below `if __name__ "
            '== "__main__":`)'
        ) from error
    except Exception as error:
        # Whatever the module raises as it is imported.
        raise UsageError(
            f"{module_name}: cannot be imported: {type(error).__name__}: {error}"
        ) from error
    fn = functools.reduce(lambda owner, part: getattr(owner, part, None), name.split("."), module)
    if fn is None:
        raise UsageError(f"{options.target}: {module_name} has no {name}")
    if not callable(fn):
        raise UsageError(f"{options.target}: must be a function, got a {type(fn).__name__}")
    returns = _RETURNS[options.returns or "scalars"]
    return Audited(fn, None, None, sf.points, returns, "E")


def _ended(error: SystemExit) -> str:
    return f"by sys.exit({'' if error.code is None else repr(error.code)})"


def _import(module_name: str) -> Any:
    if not module_name.endswith(".py"):
        return importlib.import_module(module_name)
    path = Path(module_name)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise UsageError(f"{module_name}: must be a Python file, got no such file")
    module = importlib.util.module_from_spec(spec)
    # As Python runs a file: what lies beside it can be imported.
    sys.path.insert(0, str(path.resolve().parent))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.pop(0)
    return module


def _model(path: Path, options: argparse.Namespace) -> Callable[[Any], Audited]:
    """The best model of a run, as a function of the dtype of its parameters."""
    if options.returns is not None:
        raise UsageError(
            f"--returns must be given with a function only, got it with the run {path}, which knows "
            "what it returns"
        )
    folder = RunFolder(path)
    config = folder.load_config()
    task = make_task(config)
    params = best_params(load_state(config, folder, task, task.facts()))
    if task.audited(params) is None:
        raise UsageError(
            f"{path}: must be a run whose model is a function of point clouds, got one of the task "
            f"{config.task!r}"
        )

    def model(dtype: Any) -> Audited:
        audited = task.audited(
            jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf), dtype), params)
        )
        assert audited is not None
        return audited

    return model


def _print(console: Console, options: argparse.Namespace, measured: Audit) -> None:
    failures = measured.failures()
    rounding = min(cloud.rounding for cloud in measured.clouds)
    mirrored = {True: "told apart", False: "not told apart", None: "rotations already differ"}
    averaged = "" if options.average is None else f" averaged over {options.average}_frame"
    lines = [
        f"{options.target}{averaged}, group {measured.group}, {measured.dtype}",
        f"output dtype: {', '.join(measured.output_dtypes)}"
        + ("" if measured.keeps_dtype else ", not that of the input"),
        f"traced again when called again: {measured.retraces or 'no'}",
        f"mirror images: {mirrored[measured.separates_mirror_images]}",
        _LEGEND.format(rounding=rounding),
        "",
    ]
    for line in lines:
        console.print(line, soft_wrap=True, highlight=False, markup=False)
    print_table(console, *measured.table())
    degrees = measured.degree_table()
    if degrees is not None:
        console.print(f"\n{_DEGREES}\n", soft_wrap=True, highlight=False)
        print_table(console, *degrees)
    what = f"{len(failures)} measures break a law" if failures else "no measure breaks a law"
    console.print(f"\n{what} of {measured.group}", soft_wrap=True, highlight=False)
