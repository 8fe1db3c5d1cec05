"""Molecules and what is known of them: read from any usual file, in eV and Angstrom."""

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int32

from experiments.data.npz import DataError
from experiments.errors import UsageError
from experiments.tasks.molecules.data.ase_files import read_snapshots, stack_snapshots
from experiments.tasks.molecules.data.coincident import refuse_coincident
from experiments.tasks.molecules.data.npz_files import read_arrays
from experiments.tasks.molecules.data.stream import refuse_options_of_arrays
from experiments.tasks.molecules.data.units import stated_units

_QUANTITIES = ("energies", "forces", "dipoles", "polarizabilities")
_ASYMMETRY = 0.01
"""Relative to the largest entry of a polarizability: more than programs round to."""


class Molecules(NamedTuple):
    """Snapshots of molecules, padded with zeros to one number of atoms.

    Attributes:
      species: atomic numbers, 0 for padding, which comes last.
      positions: in Angstrom.
      energies: in eV, if there are any.
      forces: in eV/Angstrom, if there are any.
      dipoles: in elementary charges times Angstrom, if there are any.
      polarizabilities: as volumes in Angstrom^3, if there are any.
    """

    species: Int32[np.ndarray, "snapshots atoms"]
    positions: Float64[np.ndarray, "snapshots atoms 3"]
    energies: Float64[np.ndarray, " snapshots"] | None
    forces: Float64[np.ndarray, "snapshots atoms 3"] | None
    dipoles: Float64[np.ndarray, "snapshots 3"] | None
    polarizabilities: Float64[np.ndarray, "snapshots 3 3"] | None = None


def read_molecules(
    path: str | os.PathLike[str],
    *,
    energy_key: str | None = "energy",
    forces_key: str | None = "forces",
    dipole_key: str | None = None,
    polarizability_key: str | None = None,
    species_key: str | None = None,
    energy_unit: str = "eV",
    length_unit: str = "Angstrom",
    forces_unit: str | None = None,
    dipole_unit: str = "e*Angstrom",
    polarizability_unit: str = "Angstrom^3",
    need: Sequence[str] = ("energies", "forces"),
    split: str | None = None,
) -> Molecules:
    """All molecules of a file, converted once to eV and Angstrom.

    Warns of snapshots that come twice, of periodic cells, which are ignored, and of XYZ that breaks
    the format but has one meaning.

    Args:
      path: XYZ, extended XYZ, a database, a trajectory or whatever else ASE reads; or a `.npz` file
        in the layout of MD17 (`R`, `z`, `E`, `F`), of revised MD17 (`coords`, `nuclear_charges`,
        `energies`, `forces`), or with elements `(snapshots, atoms)` that are padded with 0.
      energy_key: what the energy is called in the file; `None` leaves it out.
      forces_key: what the forces are called; `None` leaves them out.
      dipole_key: what the dipole moment is called; `None` leaves it out.
      polarizability_key: what the polarizability, 3 by 3, is called; `None` leaves it out.
      species_key: for `.npz` files, what they call the atomic numbers; `None` for a usual name.
      energy_unit: `eV`, `meV`, `kcal/mol`, `kJ/mol` or `hartree`.
      length_unit: `Angstrom`, `bohr` or `nm`.
      forces_unit: a unit of energy, a slash and one of length; `None` for the two above.
      dipole_unit: `e*Angstrom`, `Debye` or `e*bohr`.
      polarizability_unit: `Angstrom^3` or `bohr^3`, that is atomic units.
      need: which of `energies`, `forces`, `dipoles` and `polarizabilities` must be there.
      split: for `.npz` files with several sets, the end of their names: `train` for `R_train`.

    Returns:
      The molecules in the order of the file.

    Raises:
      UsageError: an argument that is not allowed.
      DataError: a defect of the file, with its snapshot, and its line if it has one.
    """
    units = stated_units(energy_unit, length_unit, forces_unit, dipole_unit, polarizability_unit)
    named = energy_key, forces_key, dipole_key, polarizability_key
    keys = dict(zip(_QUANTITIES, named, strict=True))
    for name in need:
        if keys.get(name) is None:
            named_keys = [quantity for quantity, key in keys.items() if key is not None]
            raise UsageError(
                f"need must be of the quantities whose key is not None, here "
                f"{', '.join(named_keys) or 'none'}, got {name!r}"
            )
    if Path(path).suffix.lower() == ".npz":
        arrays, defects = read_arrays(path, keys, need, split, units, species_key)
        for defect in defects.values():
            raise defect
        locations = [f"{path}: snapshot {index + 1}" for index in range(len(arrays["species"]))]
    else:
        refuse_options_of_arrays(path, split, species_key)
        snapshots = read_snapshots(path)
        images, locations, _ = snapshots
        if not images:
            raise DataError(f"{path}: must have one snapshot or more, got none")
        periodic = [
            location for image, location in zip(images, locations, strict=True) if image.pbc.any()
        ]
        if periodic:
            warnings.warn(
                f"{periodic[0]}: is periodic ({len(periodic)} of {len(images)} snapshots are); "
                "cells are ignored",
                stacklevel=2,
            )
        arrays = stack_snapshots(path, snapshots, keys, need, units)
    for name in ("positions", *(quantity for quantity in _QUANTITIES if quantity in arrays)):
        received = arrays[name]
        with np.errstate(over="ignore"):
            arrays[name] = received.astype(np.float64) * units.scale(name)
        _refuse_not_finite(locations, name, received, arrays[name])
    molecules = Molecules(
        arrays["species"], arrays["positions"], *(arrays.get(name) for name in _QUANTITIES)
    )
    refuse_coincident(molecules.species, molecules.positions, locations)
    _refuse_asymmetric(molecules, locations)
    _warn_of_duplicates(molecules, locations)
    return molecules


def _refuse_not_finite(
    locations: Sequence[str], name: str, received: np.ndarray, array: np.ndarray
) -> None:
    wrong = np.argwhere(~np.isfinite(array))
    if len(wrong):
        snapshot, *rest = wrong[0].tolist()
        atom = f" of atom {rest[0] + 1}" if len(rest) == 2 else ""
        raise DataError(
            f"{locations[snapshot]}: {name}{atom} must be finite numbers, got "
            f"{received[tuple(wrong[0])]}"
        )


def _refuse_asymmetric(molecules: Molecules, locations: Sequence[str]) -> None:
    matrices = molecules.polarizabilities
    if matrices is None:
        return
    odd = np.max(np.abs(matrices - np.swapaxes(matrices, 1, 2)), axis=(1, 2))
    wrong = np.flatnonzero(odd > _ASYMMETRY * np.max(np.abs(matrices), axis=(1, 2)))
    if len(wrong):
        raise DataError(
            f"{locations[wrong[0]]}: the polarizability must be a symmetric matrix, got one that "
            f"differs from its transpose by {odd[wrong[0]]:.3g} Angstrom^3"
        )


def _warn_of_duplicates(molecules: Molecules, locations: Sequence[str]) -> None:
    seen: dict[bytes, int] = {}
    copies = []
    for index, (species, positions) in enumerate(zip(*molecules[:2], strict=True)):
        original = seen.setdefault(species.tobytes() + positions.tobytes(), index)
        if original != index:
            copies.append((index, original))
    if copies:
        copy, original = copies[0]
        warnings.warn(
            f"{locations[copy]}: has the atoms and positions of snapshot {original + 1}; "
            f"{len(copies)} of {len(locations)} snapshots are such copies",
            stacklevel=3,
        )
