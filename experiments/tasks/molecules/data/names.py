"""Molecules by name: common names, and the names of `ase.build.molecule`."""

import difflib
import os
import warnings
from pathlib import Path

from ase import Atoms
from ase.build import molecule
from ase.build.molecule import extra
from ase.collections import g2

from experiments.errors import UsageError
from experiments.tasks.molecules.data.read import read_molecules

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


_NAMES = (
    "a common name, such as ethanol, or a name of ase.build.molecule, such as CH3CH2OH, in any case"
)


def ase_name(name: str) -> str:
    """What `ase.build.molecule` calls a molecule.

    Args:
      name: a common one, such as ethanol, or one that `ase.build.molecule` knows, such as CH3CH2OH;
        in any letter case.

    Raises:
      UsageError: no molecule has this name.
    """
    names = (*g2.names, *extra)
    # Formulas may differ by their case alone, as CO and Co would: as written comes first.
    if name in names:
        return name
    known = _spellings().get(name.strip().lower())
    if known is None:
        raise UsageError(f"molecule must be {_NAMES}, got {name!r} ({_close(name)})")
    return COMMON_NAMES.get(known, known)


def molecule_named(name: str) -> Atoms:
    """A molecule at rest, by its name.

    Args:
      name: as `ase_name` takes it.

    Raises:
      UsageError: no molecule has this name.
    """
    return molecule(ase_name(name))


def read_molecule(target: str, split: str | None = None) -> tuple[str, Atoms]:
    """The molecule that a name or a file stands for, and what to call it.

    Args:
      target: a name, as `ase_name` takes it, or a file as `read_molecules` reads it, of which the
        first molecule counts. If a file has this name, it is the file.
      split: the set of an `.npz` file with several.

    Returns:
      What to call the molecule, and the molecule.

    Raises:
      UsageError: there is no such name or file.
      DataError: a defect of the file, also after its first molecule.
    """
    path = Path(target)
    # Unlike `Path.is_file`, it takes a name that is too long for a file for no file.
    if os.path.isfile(path):
        atoms = first_of_file(path, split)
        if atoms.pbc.any():
            warnings.warn(f"{path}: is periodic; its cell is ignored", stacklevel=2)
        return path.stem, Atoms(atoms.numbers, atoms.positions)
    try:
        name = ase_name(target)
    except UsageError:
        raise UsageError(
            f"{target}: must be a file of molecules, or {_NAMES}, got neither ({_close(target)})"
        ) from None
    common = target.strip().lower()
    return common if common in COMMON_NAMES else name, molecule(name)


def first_of_file(path: Path, split: str | None = None) -> Atoms:
    """The first structure of a file, with its cell if it is periodic.

    Args:
      path: a file as `read_molecules` reads it.
      split: the set of an `.npz` file with several.

    Raises:
      DataError: a defect of the file, also after its first structure.
    """
    read = read_molecules(path, energy_key=None, forces_key=None, need=(), split=split)
    real = read.species[0] > 0
    atoms = Atoms(read.species[0][real], read.positions[0][real])
    if read.cells is not None and read.pbc is not None:
        atoms.cell[:], atoms.pbc = read.cells[0], read.pbc[0]
    return atoms


def _spellings() -> dict[str, str]:
    return {known.lower(): known for known in (*COMMON_NAMES, *g2.names, *extra)}


def _close(name: str) -> str:
    spellings = _spellings()
    close = difflib.get_close_matches(name.lower(), spellings, n=5, cutoff=0.5)
    if not close:
        return f"common names: {', '.join(COMMON_NAMES)}"
    return f"close to it: {', '.join(spellings[spelling] for spelling in close)}"
