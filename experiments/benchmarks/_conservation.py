"""What a molecule at constant energy conserves, and how well: its energy and angular momentum."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from ase.md.velocitydistribution import Stationary, ZeroRotation
from jaxtyping import Float

from experiments.benchmarks._dynamics import minima
from experiments.benchmarks._nve import Motion, Record
from experiments.errors import ExperimentError

NEAR = 0.02
"""The gap of two principal moments, relative to the largest, below which they are said to cross."""
APART = 2.0
"""Sums of the covalent radii: the length of a bond at which a molecule has come apart."""
EVERY = 10
"""Time steps from one record to the next."""
_DAMPING, _FRICTION = 1 / 20, 1 / 50
"""Per femtosecond, as a molecule goes down to where it starts from, and as it is heated."""
_RELAXING, _HEATING = 100.0, 1000.0
"""Femtoseconds that these take."""
_FEWEST = 20
"""Records that a line is fitted to, or a deviation taken of."""


class Start(NamedTuple):
    """Where a motion starts, in angstrom and what ASE calls velocities."""

    positions: Float[np.ndarray, "atoms 3"]
    velocities: Float[np.ndarray, "atoms 3"]


class Trajectory(NamedTuple):
    """What was recorded along a motion at constant energy, as long as the molecule held together.

    Attributes:
      times: in picoseconds.
      energies: the total energy above that of the start, in meV an atom.
      records: the rest, arrays along the motion.
      apart: when the molecule had come apart or its energy was no finite number any more, in
        picoseconds; `None` if it never was.
    """

    times: Float[np.ndarray, " records"]
    energies: Float[np.ndarray, " records"]
    records: Record
    apart: float | None

    def until(self, time: float) -> "Trajectory":
        """The part of it up to a time in picoseconds."""
        early = self.times <= time * (1 + 1e-9)
        records = Record(*(each[early] for each in self.records))
        return Trajectory(self.times[early], self.energies[early], records, self.apart)


def is_apart(record: Record) -> bool:
    """Whether a bond of a molecule is broken, or something about it is no finite number."""
    return not (np.all(np.isfinite(np.array(record))) and record.stretch <= APART)


def thermalize(motion: Motion, temperature: float, seed: int, time_step: float) -> Start:
    """Relaxes a molecule a little, heats it for a picosecond, and stops its drift and rotation.

    Args:
      motion: the molecule, where it is, and its potential.
      temperature: of the bath, in kelvin.
      seed: draws its noise.
      time_step: in femtoseconds.

    Returns:
      Where it is then, about its centre of mass.

    Raises:
      ExperimentError: if it comes apart, or has no finite energy.
    """
    state, _ = motion.begin(motion.atoms.positions, seed=seed)
    for time, friction, heat in (
        (_RELAXING, _DAMPING, 0.0),
        (_HEATING, _FRICTION, temperature),
    ):
        state, record = motion.advance(state, round(time / time_step), time_step, friction, heat)
        if is_apart(record):
            raise ExperimentError(
                f"{motion.atoms.symbols}: came apart as it was heated to {temperature:g} K in the "
                "first model; allowed: a model that holds it together, or a lower temperature"
            )
    atoms = motion.atoms.copy()
    atoms.positions = np.asarray(state.positions, np.float64)
    atoms.positions -= atoms.get_center_of_mass()
    atoms.set_velocities(np.asarray(state.velocities, np.float64))
    Stationary(atoms, preserve_temperature=False)
    ZeroRotation(atoms, preserve_temperature=False)
    return Start(atoms.positions, atoms.get_velocities())


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
            f"{motion.atoms.symbols}: is apart at the start, or has no finite energy there; allowed: "
            "a start at which every model is finite"
        )
    records, apart = [record], None
    # A last record that rounding takes for one too late is part of it.
    for place in range(1, int(time / between + 1e-6) + 1):
        state, record = motion.advance(state, every, time_step)
        if is_apart(record):
            apart = place * between
            break
        records.append(record)
        watch(place * between)
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
      units of hbar; the temperature over the last tenth, in kelvin; the longest bond; and the largest
      weight that a frame has dropped, without which it is not the average it is said to be.
    """
    times, energies, records, apart = whole
    enough = len(times) >= _FEWEST
    line = np.polyfit(times, energies, 1) if enough else None
    found: dict[str, Any] = {
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
        found[name] = both[0] / both[1] if both[1] > 0 else None
    last = -max(1, len(times) // 10)
    return found | {
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
