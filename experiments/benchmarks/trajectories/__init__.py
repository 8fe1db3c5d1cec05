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

from experiments.benchmarks.crossings import NEAR
from experiments.benchmarks.options import add_out, natural, positive_number
from experiments.benchmarks.report import print_caption, print_paths, print_tables
from experiments.benchmarks.trajectories.conservation import EVERY, Trajectory, follow, numbers
from experiments.benchmarks.trajectories.heating import Start, thermalize
from experiments.benchmarks.trajectories.models import Model, load_models, molecule_of
from experiments.benchmarks.trajectories.motion import Motion
from experiments.benchmarks.trajectories.report import table_of, write_trajectories
from experiments.errors import UsageError
from experiments.runs.folder import RunFolder
from experiments.table import number
from experiments.tasks.molecules.calculator import SymmetrizedCalculator
from experiments.tasks.molecules.data.names import read_molecule
from experiments.tasks.molecules.energies import (
    Energy,
    EnergyAlone,
    PotentialLike,
    Precision,
    enabled,
)

_HALVED = 2.0
"""Picoseconds that are run again with half the time step."""
_FEWEST = 50
"""Records that a trajectory has at least."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints a table, and writes it with its numbers, a figure and a page if a folder is given.

    Args:
      arguments: the command line, that of the process by default.

    Raises:
      UsageError: an option, a run or a molecule is not as it must be.
      ExperimentError: the molecule comes apart before a trajectory begins.
    """
    options = _parser().parse_args(arguments)
    dtype: Precision = "float32" if options.float32 else "float64"
    if 1000 * options.time < _FEWEST * EVERY * options.step:
        raise UsageError(
            f"--time: must be at least {_FEWEST * EVERY} steps of {options.step:g} fs, "
            f"got {options.time:g} ps"
        )
    folders = [RunFolder(path) for path in options.runs]
    models = load_models(folders, options.also, options.detached, dtype)
    atoms = _molecule(options, folders[0], models[0])
    motions = {}
    for name, potential, params in models:
        species = potential.species_of(atoms.numbers)
        with enabled(dtype):
            energy = EnergyAlone(potential, params)
            motions[name] = Motion(energy, species, atoms, dtype, _dropped_of(potential))
    atoms.calc = SymmetrizedCalculator.of(models[0].potential, models[0].params, dtype=dtype)
    _measure(options, atoms, motions, Console(), dtype)


def _dropped_of(potential: PotentialLike) -> Energy:
    return lambda positions, species: potential.room(positions, species).dropped


def _molecule(options: argparse.Namespace, folder: RunFolder, model: Model) -> Atoms:
    if options.molecule is None:
        atoms = molecule_of(folder, model.potential, options.index)
    else:
        _, atoms = read_molecule(options.molecule)
    if len(atoms) < 2:
        raise UsageError(f"{atoms.symbols}: must have at least two atoms, got {len(atoms)}")
    return atoms


def _measure(
    options: argparse.Namespace,
    atoms: Atoms,
    motions: dict[str, Motion],
    console: Console,
    dtype: Precision,
) -> None:
    """Runs every motion at every temperature.

    Args:
      options: the command line.
      atoms: the molecule, with the first model as its calculator.
      motions: by model.
      console: where to print.
      dtype: for the caption.
    """
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
    print_caption(console, caption)
    settings = {
        "molecule": str(atoms.symbols),
        "runs": [str(path) for path in options.runs],
        "picoseconds": options.time,
        "step_fs": options.step,
        "seed": options.seed,
        "dtype": dtype,
    }
    results: list[dict[str, Any]] = []
    paths: list[Path] = []
    trajectories: dict[float, dict[str, Trajectory]] = {}
    for temperature in options.temperatures:
        with console.status(f"heating to {temperature:g} K"):
            start = thermalize(atoms, temperature, options.seed, options.step)
        for name, motion in motions.items():
            run, result = _run(options, motion, start, f"{name} at {temperature:g} K", console)
            trajectories.setdefault(temperature, {})[name] = run
            results.append({"model": name, "temperature_kelvin": temperature} | result)
            if options.out is not None:
                # After every trajectory, so that an interruption loses no more than one.
                paths = write_trajectories(options.out, caption, settings, results, trajectories)
    print_tables(console, table_of(results))
    print_paths(console, paths)


def _run(
    options: argparse.Namespace, motion: Motion, start: Start, title: str, console: Console
) -> tuple[Trajectory, dict[str, Any]]:
    with console.status(f"{title}: compiling") as status:

        def watch(done: float) -> None:
            status.update(f"{title}: {done:.2f} of {options.time:g} ps")

        half = follow(motion, start, min(_HALVED, options.time), options.step / 2, 2 * EVERY, watch)
        began = time.perf_counter()
        run = follow(motion, start, options.time, options.step, EVERY, watch)
        days = (time.perf_counter() - began) / 86400
    result = numbers(run, half) | {"nanoseconds_a_day": run.times[-1] / 1000 / days}
    end = "" if run.apart is None else f"; the molecule came apart at {run.apart:.2f} ps"
    console.print(
        f"{title}: rms {number(result['rms_mev_per_atom'])} meV/atom{end}",
        soft_wrap=True,
        highlight=False,
        markup=False,
    )
    return run, result


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", metavar="RUN", nargs="+", type=Path, help="folders of runs")
    parser.add_argument("--temperatures", type=positive_number, nargs="+", default=[300.0, 500.0])
    parser.add_argument("--time", type=positive_number, default=20.0, help="picoseconds")
    parser.add_argument("--step", type=positive_number, default=0.5, help="femtoseconds")
    add_out(parser, "the table, its numbers, a figure and a page")
    parser.add_argument(
        "--detached", action="store_true", help="also run the same weights with detached frames"
    )
    parser.add_argument(
        "--also",
        metavar="KEY=VALUE[,KEY=VALUE]",
        action="append",
        default=[],
        help="also run the same weights with other values of the section model, such as frame=none",
    )
    parser.add_argument(
        "--index", type=natural, default=0, help="of the molecule in the test set of the first run"
    )
    parser.add_argument("--molecule", help="start from this name or file instead of the test set")
    parser.add_argument("--seed", type=natural, default=0, help="of the bath")
    parser.add_argument("--float32", action="store_true", help="in single precision")
    return parser
