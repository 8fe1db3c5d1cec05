"""A set of one molecule's shapes at a temperature, simulated where no data can be downloaded."""

import os
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from ase import Atoms, units

from experiments.data.cache import Arrays, announced, cache_path, cached
from experiments.errors import UsageError
from experiments.tasks.molecules.data.langevin import Bath, State
from experiments.tasks.molecules.data.molecules import Molecules
from experiments.tasks.molecules.data.names import ase_name, molecule_named
from experiments.tasks.molecules.data.trajectory import Trajectory
from experiments.tasks.molecules.data.xtb import Labels, TightBinding

_FORMAT = 1  # To be raised when the meaning or the values of the cached arrays change.
_CHUNK = 50
"""Snapshots in a file, which is what a kill loses at most: 13 seconds of ethanol."""
_FRICTION = 0.02
"""In 1/fs. With half of it energies are forgotten half as fast; twice of it slows the tumbling."""


def simulate_molecule(
    name: str,
    *,
    snapshots: int,
    temperature: float,
    seed: int,
    steps_between: int = 200,
    time_step_fs: float = 0.5,
    equilibrate: int = 2000,
    cache: str | os.PathLike[str],
    progress: bool = True,
) -> Molecules:
    """Snapshots of a molecule in Langevin dynamics with GFN2-xTB.

    For ethanol at 500 K, the potential energies of snapshots 50 fs apart correlate by 0.2, and by
    less than 0.1 if 100 fs apart, the default. Distances between its atoms then correlate by 0.5:
    they depend on internal rotations, which take 0.5 ps, as the molecule's tumbling does. A step
    takes 1.3 ms on one core.

    Snapshots are kept in files of fifty, and each file goes on from the one before. So a simulation
    that was stopped, or is asked for more snapshots than before, goes on with the same numbers, bit
    for bit. A shorter simulation is the beginning of a longer one. Where the energy cannot be
    computed, or the molecule has come apart, a line on standard error says so, and the way from the
    snapshot before is tried again with other noise.

    Args:
      name: as `ase_name` takes it, of two atoms or more. Both names of a molecule share their
        snapshots.
      snapshots: how many.
      temperature: in kelvin.
      seed: of the velocities at the start and of the noise.
      steps_between: steps of the integrator from one snapshot to the next.
      time_step_fs: its time step in femtoseconds.
      equilibrate: steps before these.
      cache: the folder that keeps the snapshots.
      progress: whether to show how far it is, where snapshots are missing.

    Returns:
      Positions about the centre of mass, total energies, forces and dipoles.

    Raises:
      UsageError: an argument is out of range, or tblite is not installed. Snapshots that were kept
        need no tblite.
      DataError: a snapshot failed four times, or the cache folder cannot be written.
    """
    name = ase_name(name)
    atoms = molecule_named(name)
    if len(atoms) < 2:
        raise UsageError(f"molecule must be one of two atoms or more, got {name!r}")
    _check("snapshots", snapshots, snapshots >= 1, "at least 1")
    _check("temperature", temperature, 0 < temperature < np.inf, "a positive number")
    _check("seed", seed, seed >= 0, "at least 0")
    _check("steps_between", steps_between, steps_between >= 1, "at least 1")
    # A bond to hydrogen vibrates in 9 fs, and steps of a third of a period are unstable.
    _check("time_step_fs", time_step_fs, 0 < time_step_fs <= 2, "above 0 and at most 2")
    _check("equilibrate", equilibrate, equilibrate >= 0, "at least 0")
    settings = {
        "format": _FORMAT,
        "method": "GFN2-xTB",
        "molecule": name,
        "temperature": float(temperature),
        "seed": seed,
        "steps_between": steps_between,
        "time_step_fs": float(time_step_fs),
        "equilibrate": equilibrate,
        "friction": _FRICTION,
        "frames": _CHUNK,  # The word that the names of cached files were made with.
    }
    keys = [settings | {"chunk": chunk} for chunk in range(-(-snapshots // _CHUNK))]
    kind = f"tblite-{name}"
    missing = not all(cache_path(cache, kind, key).exists() for key in keys)
    title = f"Simulating {snapshots} snapshots of {name} at {temperature:g} K"
    chunks: list[Arrays] = []
    for key in announced(keys, title) if progress and missing else keys:
        last = chunks[-1] if chunks else None
        chunks.append(cached(cache, kind, key, partial(_simulate, atoms, key, last)))

    def joined(field: str) -> np.ndarray:
        return np.concatenate([arrays[field] for arrays in chunks])[:snapshots]

    species = np.tile(atoms.numbers.astype(np.int32), (snapshots, 1))
    fields = ("positions", "energies", "forces", "dipoles")
    return Molecules(species, *(joined(field) for field in fields))


def _check(name: str, value: float, inside: bool, allowed: str) -> None:
    if not inside:
        raise UsageError(f"{name} must be {allowed}, got {value}")


def _simulate(atoms: Atoms, key: Mapping[str, Any], before: Arrays | None) -> Arrays:
    """The snapshots of one file, going on from those of the file before."""
    bath = Bath(
        heat=units.kB * key["temperature"],
        friction=key["friction"] / units.fs,
        time_step=key["time_step_fs"] * units.fs,
    )
    # Made anew for each file, so that what it remembers does not depend on when it was started.
    trajectory = Trajectory(key["molecule"], atoms, TightBinding(atoms), bath, key["seed"])
    if before is None:
        state = trajectory.reach(trajectory.start(), key["equilibrate"], 0)
    else:
        names = ("positions", "velocities", "energies", "forces", "dipoles")
        positions, velocities, *labels = (before[name][-1] for name in names)
        state = State(positions, velocities, Labels(*labels))
    first = 1 + key["chunk"] * key["frames"]
    states = []
    for number in range(first, first + key["frames"]):
        state = trajectory.reach(state, key["steps_between"], number)
        states.append(state)
    return {
        "positions": np.stack([state.positions for state in states]),
        "velocities": np.stack([state.velocities for state in states]),
        "energies": np.stack([state.labels.energy for state in states]),
        "forces": np.stack([state.labels.forces for state in states]),
        "dipoles": np.stack([state.labels.dipole for state in states]),
    }
