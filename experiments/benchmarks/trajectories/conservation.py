"""How well a molecule at constant energy conserves its energy and its angular momentum."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from experiments.benchmarks.crossings import NEAR, minima
from experiments.benchmarks.trajectories.bonds import APART
from experiments.benchmarks.trajectories.heating import Start
from experiments.benchmarks.trajectories.motion import Motion, Record
from experiments.errors import ExperimentError

EVERY = 10
"""Time steps from one record to the next."""
_FEWEST = 20
"""Records below which no line is fitted and no deviation taken."""


class Trajectory(NamedTuple):
    """The records along a motion at constant energy, as long as the molecule holds together.

    Attributes:
      times: in picoseconds.
      energies: the total energy above that of the start, in meV an atom.
      records: the rest, arrays along the motion.
      apart: the time in picoseconds at which the molecule has come apart, or its energy is no
        finite number any more; `None` if it holds together.
    """

    times: Float[np.ndarray, " records"]
    energies: Float[np.ndarray, " records"]
    records: Record
    apart: float | None

    def until(self, time: float) -> "Trajectory":
        """The part of the trajectory up to a time in picoseconds."""
        early = self.times <= time * (1 + 1e-9)
        records = Record(*(column[early] for column in self.records))
        return Trajectory(self.times[early], self.energies[early], records, self.apart)


def is_apart(record: Record) -> bool:
    """Whether a bond of a molecule is broken, or something about it is no finite number."""
    return not (np.all(np.isfinite(np.array(record))) and record.stretch <= APART)


def follow(
    motion: Motion,
    start: Start,
    time: float,
    time_step: float,
    every: int = EVERY,
    watch: Callable[[float], None] = lambda time: None,
) -> Trajectory:
    """Integrates a motion at constant energy until its time is over or the molecule comes apart.

    Args:
      motion: the molecule and its potential.
      start: where it starts.
      time: how long, in picoseconds.
      time_step: in femtoseconds.
      every: time steps from one record to the next.
      watch: called with the picoseconds that are done.

    Returns:
      The trajectory, its start included.

    Raises:
      ExperimentError: if there is no finite energy at the start.
    """
    between = every * time_step / 1000
    state, record = motion.begin(*start)
    if is_apart(record):
        raise ExperimentError(
            f"{motion.atoms.symbols}: the energy of every model at the start must be finite and the "
            f"molecule whole, got {record.energy:g} eV and a bond {record.stretch:.3g} times as long "
            "as the sum of the covalent radii"
        )
    records, apart = [record], None
    # A last record that rounding takes for one too late is part of it.
    for index in range(1, int(time / between + 1e-6) + 1):
        state, record = motion.advance(state, every, time_step)
        if is_apart(record):
            apart = index * between
            break
        records.append(record)
        watch(index * between)
    columns = Record(*np.array(records).T)
    energies = 1000 * (columns.energy - columns.energy[0]) / len(motion.atoms)
    return Trajectory(between * np.arange(len(records)), energies, columns, apart)


def numbers(whole: Trajectory, half: Trajectory) -> dict[str, Any]:
    """How well a motion conserves what it should; `None` where there are too few records to say.

    Args:
      whole: the trajectory.
      half: its beginning with half the time step, recorded at the same times.

    Returns:
      Of the total energy in meV an atom: its `drift`, the slope of a line, a picosecond; the root
      mean square `rms` around the line; the largest `jump` between two records. By how much its
      deviation from the mean and its largest jump fall with half the time step, both 4 for an
      integrator of second order and 1 for an error of the forces. How often two principal moments
      came near and how near at most, relative to the largest; the largest angular momentum, in
      units of hbar; the temperature over the last tenth, in kelvin; the longest bond; and the
      largest weight that a frame has dropped, without which it is not the average it is said to be.
    """
    times, energies, records, apart = whole
    enough = len(times) >= _FEWEST
    line = np.polyfit(times, energies, 1) if enough else None
    measured: dict[str, Any] = {
        "picoseconds": float(times[-1]),
        "apart_at_picoseconds": apart,
        "drift_mev_per_atom_ps": None if line is None else float(line[0]),
        "rms_mev_per_atom": None
        if line is None
        else float(np.sqrt(np.mean((energies - np.polyval(line, times)) ** 2))),
        "jump_mev_per_atom": _jump(whole) if enough else None,
    }
    early = whole.until(half.times[-1])
    half = half.until(early.times[-1])
    for name, measure in (("rms_falls_by", _deviation), ("jump_falls_by", _jump)):
        both = (measure(early), measure(half)) if len(half.times) >= _FEWEST else (0.0, 0.0)
        measured[name] = both[0] / both[1] if both[1] > 0 else None
    last = -max(1, len(times) // 10)
    return measured | {
        "crossings": len(minima(records.gap, NEAR)),
        "smallest_gap": float(np.min(records.gap)),
        "spin_hbar": float(np.max(records.spin)),
        "last_temperature_kelvin": float(np.mean(records.temperature[last:])),
        "longest_bond_in_covalent_radii": float(np.max(records.stretch)),
        "dropped_weight": float(np.max(records.dropped)),
    }


def _deviation(run: Trajectory) -> float:
    return float(np.std(run.energies))


def _jump(run: Trajectory) -> float:
    return float(np.max(np.abs(np.diff(run.energies))))
