"""Molecules and what is known of them: read from any usual file, in eV and Angstrom."""

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int32

from experiments.data.npz import DataError
from experiments.errors import UsageError
from experiments.tasks.molecules.data.ase_files import read_snapshots, stack_snapshots
from experiments.tasks.molecules.data.cells import checked_cells, volumes
from experiments.tasks.molecules.data.coincident import refuse_coincident
from experiments.tasks.molecules.data.labels import (
    refuse_asymmetric,
    refuse_not_finite,
    refuse_of_other_kind,
    without_stresses_of_others,
)
from experiments.tasks.molecules.data.npz_files import read_arrays
from experiments.tasks.molecules.data.stream import refuse_options_of_arrays
from experiments.tasks.molecules.data.stresses import VOIGT_ORDER, checked_order
from experiments.tasks.molecules.data.unit_names import is_per_volume
from experiments.tasks.molecules.data.units import Units, stated_units

_QUANTITIES = ("energies", "forces", "dipoles", "polarizabilities", "stresses", "virials")


class Molecules(NamedTuple):
    """Snapshots of molecules, padded with zeros to one number of atoms.

    Attributes:
      species: atomic numbers, 0 for padding, which comes last.
      positions: in Angstrom.
      energies: in eV, if there are any.
      forces: in eV/Angstrom, if there are any.
      dipoles: in elementary charges times Angstrom, if there are any.
      polarizabilities: as volumes in Angstrom^3, if there are any.
      cells: lattice vectors in rows, in Angstrom, zeros where there are none; `None` if no snapshot
        is periodic.
      pbc: along which lattice vectors snapshots repeat; `None` if no snapshot is periodic.
      stresses: in eV/Angstrom^3, positive under tension, if there are any; zeros for what does not
        repeat in all three directions.
    """

    species: Int32[np.ndarray, "snapshots atoms"]
    positions: Float64[np.ndarray, "snapshots atoms 3"]
    energies: Float64[np.ndarray, " snapshots"] | None
    forces: Float64[np.ndarray, "snapshots atoms 3"] | None
    dipoles: Float64[np.ndarray, "snapshots 3"] | None
    polarizabilities: Float64[np.ndarray, "snapshots 3 3"] | None = None
    cells: Float64[np.ndarray, "snapshots 3 3"] | None = None
    pbc: Bool[np.ndarray, "snapshots 3"] | None = None
    stresses: Float64[np.ndarray, "snapshots 3 3"] | None = None


def read_molecules(
    path: str | os.PathLike[str],
    *,
    energy_key: str | None = "energy",
    forces_key: str | None = "forces",
    dipole_key: str | None = None,
    polarizability_key: str | None = None,
    stress_key: str | None = None,
    virial_key: str | None = None,
    species_key: str | None = None,
    energy_unit: str = "eV",
    length_unit: str = "Angstrom",
    forces_unit: str | None = None,
    dipole_unit: str = "e*Angstrom",
    polarizability_unit: str = "Angstrom^3",
    stress_unit: str = "eV/Angstrom^3",
    virial_unit: str | None = None,
    voigt_order: str = VOIGT_ORDER,
    need: Sequence[str] = ("energies", "forces"),
    split: str | None = None,
) -> Molecules:
    """All molecules of a file, converted once to eV and Angstrom.

    Warns of snapshots that come twice, of XYZ that breaks the format but has one meaning, and of
    stresses of periodic snapshots that are not read though forces are.

    Args:
      path: XYZ, extended XYZ, a database, a trajectory or whatever else ASE reads; or a `.npz` file
        in the layout of MD17 (`R`, `z`, `E`, `F`), of revised MD17 (`coords`, `nuclear_charges`,
        `energies`, `forces`), or with elements `(snapshots, atoms)` that are padded with 0.
      energy_key: what the energy is called in the file; `None` leaves it out.
      forces_key: what the forces are called; `None` leaves them out.
      dipole_key: what the dipole moment is called; `None` leaves it out.
      polarizability_key: what the polarizability, 3 by 3, is called; `None` leaves it out.
      stress_key: what the stress is called, with the sign of ASE, positive under tension, and six
        components or nine; `None` leaves it out. Slabs, wires and molecules need have none.
      virial_key: what the virial, minus the volume times the stress, is called, in place of the
        stress.
      species_key: for `.npz` files, what they call the atomic numbers; `None` for a usual name.
      energy_unit: `eV`, `meV`, `kcal/mol`, `kJ/mol` or `hartree`.
      length_unit: `Angstrom`, `bohr` or `nm`.
      forces_unit: a unit of energy, a slash and one of length; `None` for the two above.
      dipole_unit: `e*Angstrom`, `Debye` or `e*bohr`.
      polarizability_unit: `Angstrom^3` or `bohr^3`, that is atomic units.
      stress_unit: `eV/Angstrom^3`, `hartree/bohr^3`, `GPa`, `MPa`, `kbar` or `bar`.
      virial_unit: one of energy, or of stress where the file has virials over the volume, as VASP
        prints them; `None` for the unit of energies.
      voigt_order: the order of six components of stresses and virials. Where ASE keeps a stress as
        a result, it has the order of ASE.
      need: which of `energies`, `forces`, `dipoles`, `polarizabilities` and `stresses` must be
        there.
      split: for `.npz` files with several sets, the end of their names: `train` for `R_train`.

    Returns:
      The molecules in the order of the file.

    Raises:
      UsageError: an argument that is not allowed.
      DataError: a defect of the file, with its snapshot, and its line if it has one.
    """
    units = stated_units(
        energy_unit,
        length_unit,
        forces_unit,
        dipole_unit,
        polarizability_unit,
        stress_unit,
        virial_unit,
    )
    places = checked_order(voigt_order)
    if stress_key is not None and virial_key is not None:
        raise UsageError(
            f"stress_key and virial_key must be at most one, got {stress_key!r} and {virial_key!r}"
        )
    if virial_key is not None:
        need = ["virials" if name == "stresses" else name for name in need]
    named = energy_key, forces_key, dipole_key, polarizability_key, stress_key, virial_key
    keys = dict(zip(_QUANTITIES, named, strict=True))
    for name in need:
        if keys.get(name) is None:
            named_keys = [quantity for quantity, key in keys.items() if key is not None]
            raise UsageError(
                f"need must be of the quantities whose key is not None, here "
                f"{', '.join(named_keys) or 'none'}, got {name!r}"
            )
    if Path(path).suffix.lower() == ".npz":
        arrays, defects = read_arrays(path, keys, need, split, units, species_key, places)
        for defect in defects.values():
            raise defect
        locations = [f"{path}: snapshot {index + 1}" for index in range(len(arrays["species"]))]
    else:
        refuse_options_of_arrays(path, split, species_key)
        snapshots = read_snapshots(path)
        images, locations, _ = snapshots
        if not images:
            raise DataError(f"{path}: must have one snapshot or more, got none")
        arrays = stack_snapshots(path, snapshots, keys, need, units, places)
    if "pbc" in arrays and arrays["pbc"].any():
        cells = arrays["cells"] * units.scale("cells")
        arrays["cells"] = checked_cells(cells, arrays["pbc"], locations)
        arrays = without_stresses_of_others(arrays, locations)
    else:
        arrays.pop("cells", None)
        arrays.pop("pbc", None)
    for name in ("positions", *(quantity for quantity in _QUANTITIES if quantity in arrays)):
        received = arrays[name]
        with np.errstate(over="ignore"):
            arrays[name] = received.astype(np.float64) * units.scale(name)
        refuse_not_finite(locations, name, received, arrays[name])
    refuse_of_other_kind(arrays, locations)
    if "virials" in arrays:
        arrays["stresses"] = _stresses(arrays.pop("virials"), arrays["cells"], units)
    refuse_asymmetric(arrays, locations)
    if "stresses" in arrays:
        arrays["stresses"] = (arrays["stresses"] + np.swapaxes(arrays["stresses"], 1, 2)) / 2
    species, positions = arrays.pop("species"), arrays.pop("positions")
    molecules = Molecules(species, positions, *(arrays.get(name) for name in Molecules._fields[2:]))
    refuse_coincident(
        molecules.species, molecules.positions, locations, molecules.cells, molecules.pbc
    )
    _warn_of_duplicates(molecules, locations)
    return molecules


def _stresses(
    virials: Float64[np.ndarray, "snapshots 3 3"],
    cells: Float64[np.ndarray, "snapshots 3 3"],
    units: Units,
) -> Float64[np.ndarray, "snapshots 3 3"]:
    if is_per_volume(units.virial):
        return -virials
    # What has no volume has zeros.
    volume = volumes(cells)[:, None, None]
    return -virials / np.where(volume > 0, volume, 1)


def _warn_of_duplicates(molecules: Molecules, locations: Sequence[str]) -> None:
    seen: dict[bytes, int] = {}
    copies = []
    for index, (species, positions) in enumerate(zip(*molecules[:2], strict=True)):
        cell = b"" if molecules.cells is None else molecules.cells[index].tobytes()
        original = seen.setdefault(species.tobytes() + positions.tobytes() + cell, index)
        if original != index:
            copies.append((index, original))
    if copies:
        copy, original = copies[0]
        warnings.warn(
            f"{locations[copy]}: has the atoms and positions of snapshot {original + 1}; "
            f"{len(copies)} of {len(locations)} snapshots are such copies",
            stacklevel=3,
        )
