"""Structures by name or from a file, crystals with their cells."""

import contextlib
import os
from pathlib import Path

from ase import Atoms
from ase.build import bulk
from ase.data import atomic_numbers

from experiments.errors import UsageError
from experiments.tasks.molecules.data.names import first_of_file, read_molecule

COMPOUNDS = {
    "NaCl": ("rocksalt", 5.64),
    "MgO": ("rocksalt", 4.21),
    "LiF": ("rocksalt", 4.03),
    "CsCl": ("cesiumchloride", 4.12),
    "GaAs": ("zincblende", 5.65),
    "SiC": ("zincblende", 4.36),
    "CaF2": ("fluorite", 5.46),
}
"""Crystals of several elements: what `ase.build.bulk` calls their structures, and their lattice
constants in Angstrom at room temperature."""


def read_structure(target: str, split: str | None = None) -> tuple[str, Atoms]:
    """The crystal or molecule that a name or a file stands for, and what to call it.

    Args:
      target: a file as `read_molecules` reads it, of which the first structure counts; the symbol
        of an element that `ase.build.bulk` knows, or one of `COMPOUNDS`; or a molecule, as
        `read_molecule` takes it. The first that there is counts.
      split: the set of an `.npz` file with several.

    Returns:
      What to call the structure, and the structure. Crystals by name have the cubic cell, if there
      is one.

    Raises:
      UsageError: there is no such name or file.
      DataError: a defect of the file.
    """
    if os.path.isfile(target):
        return Path(target).stem, first_of_file(Path(target), split)
    crystal = _crystal(target)
    if crystal is not None:
        return target, crystal
    try:
        return read_molecule(target, split)
    except UsageError as error:
        crystals = ", ".join(COMPOUNDS)
        raise UsageError(f"{error}; crystals are elements, such as Si, and {crystals}") from None


def _crystal(name: str) -> Atoms | None:
    """A crystal at rest, or `None` where ASE knows no structure of this name."""
    structure, constant = COMPOUNDS.get(name, (None, None))
    if structure is None and name not in atomic_numbers:
        return None
    for cubic in (True, False):
        # ASE refuses in many ways: what has no cubic cell, and what has no structure at all.
        with contextlib.suppress(ValueError, RuntimeError, AssertionError):
            return bulk(name, structure, a=constant, cubic=cubic)
    return None
