"""Conservation of energy in molecular dynamics: drift with each frame, against the time step.

Run with `python -m experiments benchmark drift --out DIR`.
"""

import argparse
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float
from rich.console import Console

import symjax_frames as sf
from experiments.benchmarks.crossings import NEAR, minima
from experiments.benchmarks.drift.dynamics import Run, simulate
from experiments.benchmarks.drift.molecules import Molecule, molecules, potential
from experiments.benchmarks.figures.drift import energy_drift
from experiments.benchmarks.options import add_out, positive_number
from experiments.benchmarks.report import (
    Table,
    print_caption,
    print_paths,
    print_tables,
    write_report,
)
from experiments.tasks.molecules.calculator import SymmetrizedCalculator

Runs = Mapping[str, Mapping[str, Sequence[Run]]]
"""For every molecule and frame the runs, one for each time step."""

HALVINGS = 3
_FLAT = 1e-3
"""The square of a width, relative to the largest, below which a molecule is said to be flat."""

# Four atoms: twelve choices of two of them, and four signs near a line.
_robust = functools.partial(sf.robust_frame, max_elements=48)
FRAMES: dict[str, Callable[..., sf.Frame]] = {
    "PCA": sf.pca_frame,
    "canonical": sf.canonical_frame,
    "robust, detached": functools.partial(_robust, detach=True),
    "robust": _robust,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints a table, and writes it with its numbers and a figure if a folder is given.

    Args:
      arguments: the command line, that of the process by default.
    """
    options = _parser().parse_args(arguments)
    systems = molecules()
    runs = {
        molecule.name: measure(molecule, options.time, options.step, options.heat)
        for molecule in systems
    }
    numbers = summary(systems, runs)
    console = Console()
    steps = [f"{options.step / 2**halving:g}" for halving in range(HALVINGS)]
    caption = (
        f"Total energy over {options.time:g} fs of velocity Verlet, above that of the start, with time "
        f"steps of {' / '.join(steps)} fs, in float64; the potential is a random network averaged over "
        "each frame, and springs that hold the molecule together. Drift: slope of a fitted line. "
        f"Crossings: principal moments within {NEAR:.0%} of each other; flat: passages "
        "through a plane (NH3) or a line (H2O)."
    )
    table = _table(numbers)
    print_caption(console, caption)
    print_tables(console, table)
    if options.out is None:
        return
    settings = {"time_fs": options.time, "steps_fs": [float(step) for step in steps]}
    document = settings | {"heat": options.heat, "molecules": numbers}
    paths = write_report(options.out, "drift", caption, [table], document)
    paths.append(options.out / "drift.png")
    _draw(paths[-1], systems, runs, settings["steps_fs"])
    print_paths(console, paths)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    add_out(parser, "the table, its numbers and a figure")
    parser.add_argument("--time", type=positive_number, default=100.0, help="femtoseconds")
    parser.add_argument("--step", type=positive_number, default=0.1, help="the longest step, in fs")
    parser.add_argument(
        "--heat", type=positive_number, default=1.0, help="factor of kinetic energies"
    )
    return parser


def measure(
    molecule: Molecule,
    time: float,
    step: float,
    heat: float = 1.0,
    frames: Mapping[str, Callable[..., sf.Frame]] = FRAMES,
) -> dict[str, list[Run]]:
    """Runs a molecule from one start with each frame, and again with half the time step.

    Args:
      molecule: where it starts, and its springs.
      time: how long, in femtoseconds.
      step: the longest time step, in femtoseconds.
      heat: a factor of its kinetic energy.
      frames: what the network in its potential is averaged over.

    Returns:
      For every frame the runs with `step`, half of it and a quarter.
    """
    molecule = molecule._replace(kinetic=heat * molecule.kinetic)
    runs: dict[str, list[Run]] = {}
    with jax.enable_x64(True):
        for name, frame in frames.items():
            energy = potential(molecule, frame)
            calculator = SymmetrizedCalculator(
                lambda positions, species, energy=energy: energy(positions), dtype="float64"
            )
            shares = [2**halving for halving in range(HALVINGS)]
            runs[name] = [
                simulate(molecule, calculator, step / share, round(time / step) * share)
                for share in shares
            ]
    return runs


def summary(systems: Sequence[Molecule], runs: Runs) -> dict[str, dict[str, dict[str, Any]]]:
    """The numbers of each molecule and frame; lists are over time steps, longest first."""
    numbers: dict[str, dict[str, dict[str, Any]]] = {}
    for molecule in systems:
        numbers[molecule.name] = {}
        for frame, series in runs[molecule.name].items():
            rms = [run.rms for run in series]
            numbers[molecule.name][frame] = {
                "crossings": len(crossings(series[-1], molecule)),
                "flat": len(_flat(series[-1], molecule)),
                "drift_mev_per_atom_ps": [run.drift for run in series],
                "rms_mev_per_atom": rms,
                "largest_mev_per_atom": [run.largest for run in series],
                "ratios_of_rms": [a / b for a, b in zip(rms, rms[1:], strict=False)],
            }
    return numbers


def crossings(run: Run, molecule: Molecule) -> Float[np.ndarray, " crossings"]:
    """The times when two principal moments that are not both zero come close."""
    moments = _moments(run)
    gaps = np.diff(moments, axis=1)
    # Two that vanish on a line leave the molecule unchanged, whatever their axes are.
    gaps = np.where(moments[:, 1:] > 0.05, gaps, 1).min(axis=1)
    return run.times[minima(gaps, NEAR)]


def _flat(run: Run, molecule: Molecule) -> Float[np.ndarray, " passages"]:
    return run.times[minima(_moments(run)[:, molecule.flatness - 1], _FLAT)]


def _moments(run: Run) -> Float[np.ndarray, "steps 3"]:
    """The squared widths along the principal axes, ascending, relative to the largest."""
    arms = run.positions - run.positions.mean(axis=1, keepdims=True)
    moments = np.linalg.eigvalsh(np.swapaxes(arms, 1, 2) @ arms)
    return moments / moments[:, 2:]


def _draw(path: Path, systems: Sequence[Molecule], runs: Runs, steps: Sequence[float]) -> None:
    energies, times, deviations = {}, {}, {}
    for molecule in systems:
        series = runs[molecule.name]
        finest = {frame: some[-1] for frame, some in series.items()}
        energies[molecule.name] = {
            frame: (run.times, run.energies) for frame, run in finest.items()
        }
        times[molecule.name] = {frame: crossings(run, molecule) for frame, run in finest.items()}
        deviations[molecule.name] = {
            frame: [run.rms for run in some] for frame, some in series.items()
        }
    energy_drift(path, energies, times, steps, deviations)


def _table(numbers: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Table:
    def join(values: Sequence[float], form: str) -> str:
        return " / ".join(f"{value:{form}}" for value in values)

    names = ["molecule", "frame", "crossings", "flat", "drift, meV/atom/ps", "rms, meV/atom"]
    names += ["largest, meV/atom", "rms falls by"]
    rows = [
        [
            molecule,
            frame,
            f"{values['crossings']}",
            f"{values['flat']}",
            join(values["drift_mev_per_atom_ps"], ".2g"),
            join(values["rms_mev_per_atom"], ".2g"),
            join(values["largest_mev_per_atom"], ".2g"),
            join(values["ratios_of_rms"], ".2f"),
        ]
        for molecule, frames in numbers.items()
        for frame, values in frames.items()
    ]
    return Table(names, rows)
