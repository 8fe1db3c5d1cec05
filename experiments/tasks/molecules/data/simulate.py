"""A set of one molecule's shapes at a temperature, simulated where no data can be downloaded."""

import difflib
import os
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.data.cache import Arrays, announced, cache_path, cached
from experiments.errors import UsageError
from experiments.tasks.molecules.data.langevin import Bath, State
from experiments.tasks.molecules.data.read import Molecules
from experiments.tasks.molecules.data.trajectory import Trajectory
from experiments.tasks.molecules.data.xtb import Labels, TightBinding

if TYPE_CHECKING:
    from ase import Atoms

COMMON_NAMES = {
    "acetic acid": "CH3COOH",
    "acetone": "CH3COCH3",
    "acetylene": "C2H2",
    "ammonia": "NH3",
    "benzene": "C6H6",
    "carbon dioxide": "CO2",
    "ethane": "C2H6",
    "ethanol": "CH3CH2OH",
    "ethylene": "C2H4",
    "formaldehyde": "H2CO",
    "fullerene": "C60",
    "furan": "C4H4O",
    "hydrogen": "H2",
    "methane": "CH4",
    "methanol": "CH3OH",
    "nitrogen": "N2",
    "ozone": "O3",
    "propane": "C3H8",
    "pyridine": "C5H5N",
    "pyrrole": "C4H4NH",
    "thiophene": "C4H4S",
    "water": "H2O",
}
"""What `ase.build.molecule` calls molecules of these names."""
_FORMAT = 1  # To be raised when the meaning or the values of the cached arrays change.
_CHUNK = 50
"""Frames in a file, which is what a kill loses at most: 13 seconds of ethanol."""
_FRICTION = 0.02
"""In 1/fs. Half of it forgets energies half as fast, twice of it slows the tumbling down."""


def simulate_molecule(
    name: str,
    *,
    frames: int,
    temperature: float,
    seed: int,
    steps_between: int = 200,
    time_step_fs: float = 0.5,
    equilibrate: int = 2000,
    cache: str | os.PathLike[str],
    progress: bool = True,
) -> Molecules:
    """Frames of a molecule in Langevin dynamics with GFN2-xTB.

    For ethanol at 500 K, the potential energies of frames 50 fs apart correlate by 0.2, and by less
    than 0.1 if 100 fs apart, the default. Distances between its atoms correlate by 0.5 then: they
    hang on internal rotations, which take 0.5 ps, as does the molecule's tumbling. A step takes 1.3
    ms on one core.

    Frames are kept in files of fifty, each going on from the one before. So a simulation that was
    stopped, or is asked for more frames than before, goes on bit for bit; fewer frames are the first
    of more. Where no energy is to be had, or a molecule has come apart, this is said on standard
    error and the way from the frame before is taken again with other noise.

    Args:
      name: a common one in any letter case, such as ethanol, or one that `ase.build.molecule`
        knows, of two atoms or more, such as CH3CH2OH. Both share their frames.
      frames: how many.
      temperature: in kelvin.
      seed: of the velocities at the start and of the noise.
      steps_between: steps of the integrator from one frame to the next.
      time_step_fs: its time step in femtoseconds.
      equilibrate: steps before these.
      cache: the folder that keeps the frames.
      progress: whether to show how far it is, where frames are missing.

    Returns:
      Positions about the centre of mass, total energies, forces and dipoles.

    Raises:
      UsageError: an argument is out of range, or tblite or ase is not installed; frames that were
        kept need no tblite.
      DataError: a frame failed four times, or the cache folder cannot be written.
    """
    name = COMMON_NAMES.get(name.strip().lower(), name)
    atoms = _build(name)
    _check("frames", frames, frames >= 1, "at least 1")
    _check("temperature", temperature, 0 < temperature < np.inf, "a positive number")
    _check("seed", seed, seed >= 0, "at least 0")
    _check("steps_between", steps_between, steps_between >= 1, "at least 1")
    # A bond to hydrogen vibrates in 9 fs, and steps of a third of a period are unstable.
    _check("time_step_fs", time_step_fs, 0 < time_step_fs <= 2, "above 0, at most 2")
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
        "frames": _CHUNK,
    }
    keys = [settings | {"chunk": chunk} for chunk in range(-(-frames // _CHUNK))]
    kind = f"tblite-{name}"
    missing = not all(cache_path(cache, kind, key).exists() for key in keys)
    title = f"Simulating {frames} frames of {name} at {temperature:g} K"
    chunks: list[Arrays] = []
    for key in announced(keys, title) if progress and missing else keys:
        last = chunks[-1] if chunks else None
        chunks.append(cached(cache, kind, key, partial(_simulate, atoms, key, last)))

    def joined(field: str) -> np.ndarray:
        return np.concatenate([arrays[field] for arrays in chunks])[:frames]

    species = np.tile(atoms.numbers.astype(np.int32), (frames, 1))
    fields = ("positions", "energies", "forces", "dipoles")
    return Molecules(species, *(joined(field) for field in fields))


def _build(name: str) -> "Atoms":
    try:
        from ase.build import molecule
        from ase.build.molecule import extra
        from ase.collections import g2
    except ImportError:
        raise UsageError(
            "the package ase, which knows the molecules, is not installed; allowed: "
            "`pip install -e '.[experiments]'`"
        ) from None
    names = [each for each in (*g2.names, *extra) if len(molecule(each)) > 1]
    if name not in names:
        # In lower case: half of a formula is capitals.
        lower = {each.lower(): each for each in (*COMMON_NAMES, *names)}
        near = difflib.get_close_matches(name.lower(), lower, n=5)
        hint = f"close to it: {', '.join(lower[each] for each in near)}; " if near else ""
        raise UsageError(
            f"molecule is {name!r}; {hint}allowed: a name of ase.build.molecule with two atoms or "
            "more, mostly a formula, as CH3CH2OH or C6H6, or a common one, as ethanol"
        )
    return molecule(name)


def _check(name: str, value: float, inside: bool, allowed: str) -> None:
    if not inside:
        raise UsageError(f"{name} is {value}; allowed: {allowed}")


def _simulate(atoms: "Atoms", key: Mapping[str, Any], before: Arrays | None) -> Arrays:
    """The frames of one file, going on from those of the file before."""
    from ase import units

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
    for frame in range(first, first + key["frames"]):
        state = trajectory.reach(state, key["steps_between"], frame)
        states.append(state)
    return {
        "positions": np.stack([each.positions for each in states]),
        "velocities": np.stack([each.velocities for each in states]),
        "energies": np.stack([each.labels.energy for each in states]),
        "forces": np.stack([each.labels.forces for each in states]),
        "dipoles": np.stack([each.labels.dipole for each in states]),
    }
