"""The molecules of a file, some at a time, in eV and Angstrom: what is read, and its checks."""

import os
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from experiments.data.mapped import npz_in_parts
from experiments.data.npz import read_npz
from experiments.errors import UsageError
from experiments.tasks.molecules.data.ase_files import stacked_snapshots
from experiments.tasks.molecules.data.cells import checked_cells, volumes
from experiments.tasks.molecules.data.coincident import refuse_coincident
from experiments.tasks.molecules.data.labels import (
    refuse_asymmetric,
    refuse_not_finite,
    refuse_of_other_kind,
    without_stresses_of_others,
)
from experiments.tasks.molecules.data.molecules import Molecules
from experiments.tasks.molecules.data.npz_files import read_arrays
from experiments.tasks.molecules.data.stream import refuse_options_of_arrays
from experiments.tasks.molecules.data.stresses import checked_order
from experiments.tasks.molecules.data.unit_names import is_per_volume
from experiments.tasks.molecules.data.units import Units, stated_units

_QUANTITIES = ("energies", "forces", "dipoles", "polarizabilities", "stresses", "virials")


class Wanted(NamedTuple):
    """What is read of a file, beside atoms, positions and cells.

    Attributes:
      keys: what it calls each of the quantities; `None` for what is not read.
      need: those that must be there.
      units: of the file.
      places: of six components of a stress or virial in its matrix.
    """

    keys: Mapping[str, str | None]
    need: Sequence[str]
    units: Units
    places: Sequence[tuple[int, int]]

    def needed(self) -> list[str]:
        """What must be there, by the names of `Molecules`."""
        return ["stresses" if name == "virials" else name for name in self.need]


def wanted_quantities(
    *,
    energy_key: str | None,
    forces_key: str | None,
    dipole_key: str | None,
    polarizability_key: str | None,
    stress_key: str | None,
    virial_key: str | None,
    energy_unit: str,
    length_unit: str,
    forces_unit: str | None,
    dipole_unit: str,
    polarizability_unit: str,
    stress_unit: str,
    virial_unit: str | None,
    voigt_order: str,
    need: Sequence[str],
) -> Wanted:
    """Checks what `read_molecules` is asked for, whose arguments these are.

    Raises:
      UsageError: an argument that is not allowed.
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
    return Wanted(keys, need, units, places)


def molecule_windows(
    path: str | os.PathLike[str],
    wanted: Wanted,
    split: str | None = None,
    species_key: str | None = None,
    *,
    rows: int | None = None,
    scratch: Path | None = None,
) -> Generator[tuple[Molecules, Sequence[str]], None, None]:
    """The molecules of a file, some at a time.

    Args:
      path: the file, as `read_molecules` reads it.
      wanted: what is read of it.
      split: as of `read_molecules`.
      species_key: as of `read_molecules`.
      rows: how many snapshots there are at a time; `None` for all.
      scratch: a folder where the arrays of an `.npz` file may lie until the last of them was asked
        for; by default they are in memory.

    Yields:
      The molecules, and the location of each, for errors.

    Raises:
      UsageError: an argument that is not allowed.
      DataError: a defect of the file.
    """
    if Path(path).suffix.lower() == ".npz":
        stored = (
            read_npz(path, refuse_objects=False) if scratch is None else npz_in_parts(path, scratch)
        )
        first = 0
        for arrays, defects in read_arrays(
            *(path, stored, wanted.keys, wanted.need, split),
            *(wanted.units, species_key, wanted.places, rows),
        ):
            for defect in defects.values():
                raise defect
            numbers = range(first + 1, first + len(arrays["species"]) + 1)
            locations = [f"{path}: snapshot {number}" for number in numbers]
            yield _converted(arrays, locations, wanted.units, rows is None), locations
            first += len(numbers)
        return
    refuse_options_of_arrays(path, split, species_key)
    with closing(stacked_snapshots(path, *wanted, rows)) as parts:
        for arrays, locations in parts:
            yield _converted(arrays, locations, wanted.units, rows is None), locations


def _converted(
    arrays: dict[str, np.ndarray], locations: Sequence[str], units: Units, whole: bool
) -> Molecules:
    """Arrays as of a file in our units, and whatever is wrong with them.

    Args:
      arrays: as they are in the file.
      locations: of the snapshots, for errors.
      units: of the file.
      whole: whether these are all snapshots, of which then one at least must have a stress if any
        should.
    """
    crystals = np.zeros(len(locations), bool)
    if "pbc" in arrays and arrays["pbc"].any():
        crystals = arrays["pbc"].all(axis=1)
        cells = arrays["cells"] * units.scale("cells")
        arrays["cells"] = checked_cells(cells, arrays["pbc"], locations)
    else:
        arrays.pop("cells", None)
        arrays.pop("pbc", None)
    if crystals.any() or not whole:
        arrays = without_stresses_of_others(arrays, crystals, locations)
    for name in ("positions", *(quantity for quantity in _QUANTITIES if quantity in arrays)):
        received = arrays[name]
        with np.errstate(over="ignore"):
            arrays[name] = received.astype(np.float64) * units.scale(name)
        refuse_not_finite(locations, name, received, arrays[name])
    refuse_of_other_kind(arrays, locations, whole)
    if "virials" in arrays:
        cells = arrays.get("cells", np.zeros((len(locations), 3, 3)))
        arrays["stresses"] = _stresses(arrays.pop("virials"), cells, units)
    refuse_asymmetric(arrays, locations)
    if "stresses" in arrays:
        arrays["stresses"] = (arrays["stresses"] + np.swapaxes(arrays["stresses"], 1, 2)) / 2
    species, positions = arrays.pop("species"), arrays.pop("positions")
    molecules = Molecules(species, positions, *(arrays.get(name) for name in Molecules._fields[2:]))
    refuse_coincident(
        molecules.species, molecules.positions, locations, molecules.cells, molecules.pbc
    )
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
