"""Dynamics at constant energy of trained models of molecules: how well they conserve it.

Run with `python -m experiments benchmark trajectories RUN [RUN ...] --out DIR`.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ase import Atoms
from rich.console import Console

from experiments.benchmarks._conservation import (
    EVERY,
    NEAR,
    Start,
    Trajectory,
    follow,
    numbers,
    thermalize,
)
from experiments.benchmarks._nve import Motion
from experiments.benchmarks._options import new_folder
from experiments.benchmarks._trained_models import load_models, molecule_of
from experiments.benchmarks._trajectories_report import table_of, write_trajectories
from experiments.errors import UsageError
from experiments.results.table import number, print_table
from experiments.runs.folder import RunFolder
from experiments.tasks.molecules.calculator import Precision, enabled

_HALVED = 2.0
"""Picoseconds that are run again with half the time step."""
_FEWEST = 50
"""Records that a trajectory has at least."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints a table, and writes it with its numbers, a figure and a page if a folder is given.

    Args:
      arguments: the command line, that of the process by default.

    Raises:
      UsageError: what was asked for cannot be done.
      ExperimentError: the molecule comes apart before a trajectory begins.
    """
    options = _parser().parse_args(arguments)
    dtype: Precision = "float32" if options.float32 else "float64"
    if 1000 * options.time < _FEWEST * EVERY * options.step:
        raise UsageError(
            f"--time: received {options.time:g} ps with steps of {options.step:g} fs; allowed: at "
            f"least {_FEWEST * EVERY} steps"
        )
    folders = [RunFolder(path) for path in options.runs]
    models = load_models(folders, options.also, options.detached, dtype)
    atoms = molecule_of(folders[0], models[0].potential, options.frame, options.molecule)
    motions = {}
    for name, potential, params in models:
        species = potential.species_of(atoms.numbers)
        with enabled(dtype):
            energy = potential.alone(params)
            motions[name] = Motion(energy, species, atoms, dtype, potential.dropped)
    _measure(options, atoms, motions, Console(), dtype)


def _measure(
    options: argparse.Namespace,
    atoms: Atoms,
    motions: dict[str, Motion],
    console: Console,
    dtype: Precision,
) -> None:
    caption = (
        f"{options.time:g} ps of velocity Verlet of {atoms.symbols} at constant energy with steps of "
        f"{options.step:g} fs, in {dtype}; every model starts from the same state, heated in the first "
        "one and freed of drift and rotation. Drift: slope of a line fitted to the total energy; rms: "
        "around this line; jump: between two records, "
        f"{EVERY * options.step:g} fs apart. With half the step, over the first "
        f"{min(_HALVED, options.time):g} ps, the error of the integrator falls by 4, and that of forces "
        f"that are no gradient by 1. Near crossings: principal moments within {NEAR:.0%} of each other. "
        "Spin: angular momentum, which starts at zero. Dropped weight: of elements for which a frame "
        "had no room, at most."
    )
    console.print(caption, soft_wrap=True, highlight=False)
    settings = {
        "molecule": str(atoms.symbols),
        "runs": [str(path) for path in options.runs],
        "picoseconds": options.time,
        "step_fs": options.step,
        "seed": options.seed,
        "dtype": dtype,
    }
    found: list[dict[str, Any]] = []
    trajectories: dict[float, dict[str, Trajectory]] = {}
    for temperature in options.temperatures:
        with console.status(f"heating to {temperature:g} K"):
            first = next(iter(motions.values()))
            start = thermalize(first, temperature, options.seed, options.step)
        for name, motion in motions.items():
            run, result = _run(options, motion, start, f"{name} at {temperature:g} K", console)
            trajectories.setdefault(temperature, {})[name] = run
            found.append({"model": name, "temperature_kelvin": temperature} | result)
            if options.out is not None:
                # What is measured is kept, whatever becomes of the rest.
                write_trajectories(options.out, caption, settings, found, trajectories)
    print_table(console, *table_of(found))
    if options.out is not None:
        for end in ("md", "json", "png", "html"):
            console.print(f"{options.out / 'trajectories'}.{end}", soft_wrap=True, highlight=False)


def _run(
    options: argparse.Namespace, motion: Motion, start: Start, what: str, console: Console
) -> tuple[Trajectory, dict[str, Any]]:
    with console.status(f"{what}: compiling") as status:

        def watch(done: float) -> None:
            status.update(f"{what}: {done:.2f} of {options.time:g} ps")

        half = follow(motion, start, min(_HALVED, options.time), options.step / 2, 2 * EVERY, watch)
        began = time.perf_counter()
        run = follow(motion, start, options.time, options.step, EVERY, watch)
        days = (time.perf_counter() - began) / 86400
    result = numbers(run, half) | {"nanoseconds_a_day": run.times[-1] / 1000 / days}
    end = "" if run.apart is None else f"; the molecule came apart at {run.apart:.2f} ps"
    console.print(
        f"{what}: rms {number(result['rms_mev_per_atom'])} meV/atom{end}",
        soft_wrap=True,
        highlight=False,
        markup=False,
    )
    return run, result


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", metavar="RUN", nargs="+", type=Path, help="folders of runs")
    parser.add_argument("--temperatures", type=_positive, nargs="+", default=[300.0, 500.0])
    parser.add_argument("--time", type=_positive, default=20.0, help="picoseconds")
    parser.add_argument("--step", type=_positive, default=0.5, help="femtoseconds")
    parser.add_argument(
        "--out", type=new_folder, help="the folder to write the tables and figures to"
    )
    parser.add_argument(
        "--detached", action="store_true", help="run the same weights with detached frames too"
    )
    parser.add_argument(
        "--also",
        metavar="KEY=VALUE[,KEY=VALUE]",
        action="append",
        default=[],
        help="run the same weights with other values of the section model too, as frame=none",
    )
    parser.add_argument(
        "--frame", type=_natural, default=0, help="of the test set of the first run, from 0"
    )
    parser.add_argument("--molecule", help="start from this name or file instead of the test set")
    parser.add_argument("--seed", type=_natural, default=0, help="of the bath")
    parser.add_argument("--float32", action="store_true", help="in single precision")
    return parser


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a positive number, got {text}")
    return value


def _natural(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"must be an integer from 0, got {text}")
    return value
