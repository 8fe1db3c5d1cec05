"""Metals and alloys by effective-medium theory: periodic snapshots that are made on the spot."""

import itertools
import os
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.emt import EMT

from experiments.data.cache import Arrays, announced, cache_path, cached
from experiments.errors import UsageError
from experiments.tasks.molecules.choices import EMT_METALS
from experiments.tasks.molecules.data.langevin import Bath, State, advance
from experiments.tasks.molecules.data.molecules import Molecules
from experiments.tasks.molecules.data.xtb import Labels

_FORMAT = 1  # To be raised when the meaning or the values of the cached arrays change.
_CHUNK = 50
"""Snapshots in a file, which is what a kill loses at most."""
_MOST_CUBES = 8
_ATOMS = 4 * _MOST_CUBES
_SHAPES = [
    shape
    for shape in itertools.product(range(1, _MOST_CUBES + 1), repeat=3)
    if np.prod(shape) <= _MOST_CUBES and max(shape) <= 4
]
"""Cubes of four atoms along each axis of a supercell."""
_STRETCH = (-0.05, 0.08)
"""Strain of all axes alike; metals are softer under tension."""
_STRAIN = 0.05
"""The largest strain of single axes, and the largest shear."""
_RATTLE = 0.15
"""In Angstrom, the largest standard deviation of atoms that are moved at random."""
_STEPS, _TIME_STEP, _FRICTION = 100, 4.0 * units.fs, 0.02 / units.fs
"""Of dynamics, which forget their velocities in 50 fs."""
_MELTING = 12000.0
"""In kelvin: atoms are then moved by half the distance of neighbours; at 3000 K by a fifth of it."""


def simulate_alloys(
    elements: Sequence[str],
    *,
    snapshots: int,
    temperature: float,
    seed: int,
    cache: str | os.PathLike[str],
    progress: bool = True,
) -> Molecules:
    """Snapshots of random alloys in fcc supercells of 4 to 32 atoms, with energies of EMT.

    Each has its own numbers of atoms, shares of the elements, occupation of the sites, and strain
    of the cell. Of half of them the atoms are moved at random; the others come from 0.4 ps of
    Langevin dynamics at a temperature between zero and the given one, and every second of these was
    molten before. So they do not depend on each other, and fewer snapshots are the beginning of
    more. They are kept in files of fifty.

    Args:
      elements: symbols of `EMT_METALS`, in any order.
      snapshots: how many.
      temperature: the highest one, in kelvin.
      seed: of all that is drawn.
      cache: the folder that keeps the snapshots.
      progress: whether to show how far it is, where snapshots are missing.

    Returns:
      Periodic snapshots with energies, forces and stresses.

    Raises:
      UsageError: an argument is out of range, or the theory does not know an element.
      DataError: the cache folder cannot be written.

    References:
      Jacobsen, Stoltze and Norskov, A semi-empirical effective medium theory for metals and alloys,
      Surface Science 366, 394 (1996).
    """
    unknown = [element for element in elements if element not in EMT_METALS]
    if unknown or not elements:
        received = ", ".join(unknown) or "none"
        raise UsageError(f"elements must be of {', '.join(EMT_METALS)}, got {received}")
    for name, value, inside, allowed in (
        ("snapshots", snapshots, snapshots >= 1, "at least 1"),
        ("temperature", temperature, 0 < temperature < np.inf, "a positive number"),
        ("seed", seed, seed >= 0, "at least 0"),
    ):
        if not inside:
            raise UsageError(f"{name} must be {allowed}, got {value}")
    symbols = sorted(set(elements), key=EMT_METALS.index)
    settings = {
        "format": _FORMAT,
        "method": "EMT",
        "elements": symbols,
        "temperature": float(temperature),
        "seed": seed,
        "frames": _CHUNK,
    }
    keys = [settings | {"chunk": chunk} for chunk in range(-(-snapshots // _CHUNK))]
    kind = f"emt-{'-'.join(symbols)}"
    missing = not all(cache_path(cache, kind, key).exists() for key in keys)
    title = f"Simulating {snapshots} snapshots of {', '.join(symbols)} up to {temperature:g} K"
    chunks = [
        cached(cache, kind, key, partial(_simulate, key))
        for key in (announced(keys, title) if progress and missing else keys)
    ]
    joined = {
        name: np.concatenate([arrays[name] for arrays in chunks])[:snapshots] for name in chunks[0]
    }
    return Molecules(**joined, dipoles=None, pbc=np.ones((snapshots, 3), bool))


def _simulate(key: Mapping[str, Any]) -> Arrays:
    """The snapshots of one file."""
    count = key["frames"]
    arrays = {
        "species": np.zeros((count, _ATOMS), np.int32),
        "positions": np.zeros((count, _ATOMS, 3)),
        "energies": np.zeros(count),
        "forces": np.zeros((count, _ATOMS, 3)),
        "cells": np.zeros((count, 3, 3)),
        "stresses": np.zeros((count, 3, 3)),
    }
    for row in range(count):
        number = key["chunk"] * count + row
        draw = np.random.default_rng(np.random.SeedSequence(key["seed"], spawn_key=(number,)))
        atoms = _crystal(key["elements"], draw)
        atoms.calc = EMT()
        if number % 4 == 3:
            _heat(atoms, _MELTING, draw)
        if number % 2:
            _heat(atoms, draw.uniform(0, key["temperature"]), draw)
        else:
            atoms.positions += draw.uniform(0, _RATTLE) * draw.normal(size=(len(atoms), 3))
        own = slice(len(atoms))
        arrays["species"][row, own] = atoms.numbers
        arrays["positions"][row, own] = atoms.positions
        arrays["energies"][row] = atoms.get_potential_energy()
        arrays["forces"][row, own] = atoms.get_forces()
        arrays["cells"][row] = atoms.cell.array
        arrays["stresses"][row] = atoms.get_stress(voigt=False)
    return arrays


def _crystal(elements: Sequence[str], draw: np.random.Generator) -> Atoms:
    """A strained supercell with random elements at its sites."""
    shape = _SHAPES[draw.integers(len(_SHAPES))]
    shares = draw.dirichlet(np.ones(len(elements)))
    symbols = draw.choice(elements, size=4 * int(np.prod(shape)), p=shares)
    # Atoms of alloys take about as much room as those of their elements.
    room = {element: bulk(element).get_volume() for element in elements}
    side = float(4 * np.mean([room[symbol] for symbol in symbols])) ** (1 / 3)
    atoms = bulk("Cu", "fcc", a=side, cubic=True).repeat(shape)
    atoms.symbols = symbols
    skew = draw.uniform(-_STRAIN, _STRAIN, size=(3, 3))
    strain = draw.uniform(*_STRETCH) * np.eye(3) + (skew + skew.T) / 2
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
    return atoms


def _heat(atoms: Atoms, temperature: float, draw: np.random.Generator) -> None:
    """Moves the atoms by dynamics at a temperature in kelvin."""
    bath = Bath(units.kB * temperature, _FRICTION, _TIME_STEP)

    def potential(positions: np.ndarray) -> Labels:
        atoms.positions = positions
        # A crystal has no dipole, and dynamics read none.
        return Labels(np.array(atoms.get_potential_energy()), atoms.get_forces(), np.zeros(3))

    masses = atoms.get_masses()
    velocities = np.sqrt(bath.heat / masses)[:, None] * draw.normal(size=atoms.positions.shape)
    start = State(atoms.positions.copy(), velocities, potential(atoms.positions.copy()))
    atoms.positions = advance(start, potential, masses, bath, _STEPS, draw).positions
