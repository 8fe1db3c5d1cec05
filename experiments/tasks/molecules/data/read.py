"""Molecules and what is known of them: read from any usual file, in eV and Angstrom."""

import os
import warnings
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Int64

from experiments.tasks.molecules.data.molecules import Molecules, marks_of
from experiments.tasks.molecules.data.stresses import VOIGT_ORDER
from experiments.tasks.molecules.data.windows import Wanted, molecule_windows, wanted_quantities


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
    wanted = wanted_quantities(
        energy_key=energy_key,
        forces_key=forces_key,
        dipole_key=dipole_key,
        polarizability_key=polarizability_key,
        stress_key=stress_key,
        virial_key=virial_key,
        energy_unit=energy_unit,
        length_unit=length_unit,
        forces_unit=forces_unit,
        dipole_unit=dipole_unit,
        polarizability_unit=polarizability_unit,
        stress_unit=stress_unit,
        virial_unit=virial_unit,
        voigt_order=voigt_order,
        need=need,
    )
    return read_wanted(path, wanted, split, species_key)


def read_wanted(
    path: str | os.PathLike[str],
    wanted: Wanted,
    split: str | None = None,
    species_key: str | None = None,
) -> Molecules:
    """What `read_molecules` returns, whose arguments `wanted_quantities` has checked."""
    [(molecules, locations)] = molecule_windows(path, wanted, split, species_key)
    warn_of_duplicates(marks_of(molecules), locations.__getitem__)
    return molecules


def warn_of_duplicates(
    marks: Int64[np.ndarray, " snapshots"], location: Callable[[int], str]
) -> None:
    """Warns of snapshots that come twice in a file.

    Args:
      marks: of all snapshots, by `marks_of`.
      location: of a snapshot.
    """
    _, first, which = np.unique(marks, return_index=True, return_inverse=True)
    originals = first[which]
    copies = np.flatnonzero(originals != np.arange(len(marks)))
    if len(copies):
        copy = int(copies[0])
        warnings.warn(
            f"{location(copy)}: has the atoms and positions of snapshot {originals[copy] + 1}; "
            f"{len(copies)} of {len(marks)} snapshots are such copies",
            stacklevel=4,
        )
