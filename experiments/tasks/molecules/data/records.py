"""Files of several structures in formats of which ASE reads one, or sees one too many."""

import io
import os
import re
import warnings

import ase.io
from ase import Atoms

from experiments.data.npz import DataError
from experiments.tasks.molecules.data.xyz import Snapshots

_THREE_NUMBERS = r"[ \t]*[-+.\ded]+(?:[ \t]+[-+.\ded]+){2}[ \t]*\n"
# How a structure begins, in formats that ASE takes for one structure.
_BEGINNINGS = {
    "abinit-in": r"^\s*natom\b",
    "abinit-out": r"cartesian coordinates \(angstrom\) at end",
    "castep-cell": r"^\s*%block\s+positions_",
    "cp2k-restart": r"^\s*&coord\b",
    "crystal": rf"^[ \t]*[0-3][ \t]+\d+[ \t]+\d+.*\n(?:{_THREE_NUMBERS}){{3}}",
    "dlp4": r"^[ \t]*[0-2][ \t]+[0-7](?:[ \t]+\d+)?(?:[ \t]+[-+.\de]+)?[ \t]*$",
    "dmol-car": r"^!date",
    "dmol-incoor": r"^\$coordinates",
    "espresso-in": r"^\s*atomic_positions\b",
    "gamess-us-out": r"^\s*atom\s+atomic\s+coordinates",
    "gaussian-in": r"^\s*(?:#|--link1--)",
    "gen": r"^\s*\d+\s+[csfh]\s*$",
    "gromos": r"^position\b",
    "jsv": r"^\[natom\]",
    "magres": r"^\s*[\[<]atoms[\]>]",
    "nwchem-in": r"^\s*geometry\b",
    "onetep-in": r"^\s*%block\s+positions_",
    "res": r"^cell\b",
    "struct": r"lattice,nonequiv",
    "turbomole": r"^\$coord\b",
    # A scale, three vectors, elements or their numbers; velocities of the cell end otherwise.
    "vasp": rf"^[ \t]*[-+.\de]+[ \t]*\n(?:{_THREE_NUMBERS}){{3}}(?=[ \t]*[a-z]|[ \t\d]+$)",
    "xsf": r"^\s*(?:crystal|slab|polymer|molecule)\b",
}
SINGLE = frozenset(_BEGINNINGS)
"""Formats that `warn_of_others` knows."""
# Where formats declare units that ASE does not look at: it takes all lengths for angstrom.
_UNITS = {
    "gaussian-in": ("length_unit", r"^\s*#.*\bunits\s*[=(]+\s*(?:deg,|rad,)?\s*(au|ang)"),
    "lammps-data": ("units", r"\bunits\s*=\s*(\w+)"),
    "lammps-dump-text": ("units", r"^item: units\s*\n\s*(\w+)"),
    "nwchem-in": ("length_unit", r"^\s*geometry\b.*\bunits\s+(?!an\b)(\w+)"),
}


def units_in(path: str | os.PathLike[str], kind: str, text: str) -> dict[str, str]:
    """The units that a file declares, where ASE does not look at them.

    Args:
      path: the name of the file.
      kind: what ASE calls its format.
      text: its beginning.

    Returns:
      Names and units, of those that ASE reads as if they were angstrom.

    Raises:
      DataError: ASE takes another unit for one it has to convert.
    """
    flags = re.IGNORECASE | re.MULTILINE
    if kind == "turbomole" and re.search(r"^\$coord[ \t]+(ang|frac)", text, flags):
        raise DataError(f"{path}: $coord must be in bohr, as ASE takes it, got another unit")
    name, pattern = _UNITS.get(kind, ("", "(?!)"))
    found = re.search(pattern, text, flags)
    return {name: found[1]} if found else {}


def warn_of_others(path: str | os.PathLike[str], kind: str, text: str) -> None:
    """Warns if a file holds structures beside the one that is read.

    Args:
      path: the name of the file.
      kind: what ASE calls its format, one of `SINGLE`.
      text: its content.
    """
    found = re.findall(_BEGINNINGS[kind], text, re.IGNORECASE | re.MULTILINE)
    if len(found) > 1:
        warnings.warn(
            f"{path}: ASE takes a file of the format {kind} for one structure, but {len(found)} "
            "begin here: write them as extended XYZ, for example, or one a file",
            stacklevel=4,
        )


def sdf_snapshots(path: str | os.PathLike[str], text: str) -> Snapshots:
    """The molecules of an SDF or MDL molfile, which ASE reads the first of.

    Args:
      path: the name of the file, for errors.
      text: its content.

    Returns:
      For each molecule its location, which is its first line, and the molecule or its defect.
    """
    lines = text.splitlines(keepends=True)
    ends = [n for n, line in enumerate(lines) if line.startswith("$$$$")]
    index = 0
    for start, end in zip([0, *(end + 1 for end in ends)], [*ends, len(lines)], strict=True):
        record = lines[start:end]
        if not "".join(record).strip():
            continue
        index += 1
        location = f"{path}: snapshot {index}, line {start + 1}"
        try:
            yield location, _sdf_molecule(location, record)
        except DataError as error:
            yield location, error


def _sdf_molecule(where: str, record: list[str]) -> Atoms:
    tables = [
        number for number, line in enumerate(record) if re.match(r"[ \d]{6}.*V[23]000\s*$", line)
    ]
    if len(tables) > 1:
        raise DataError(
            f"{where}: must be one molecule before a line $$$$, got the tables of {len(tables)}"
        )
    if tables and "V3000" in record[tables[0]]:
        raise DataError(f"{where}: must be a table V2000, got V3000, which ASE does not read")
    try:
        [atoms] = ase.io.iread(io.StringIO("".join(record)), format="sdf")
        announced = int(record[3][:3])
    except Exception as error:  # ASE raises whatever its conversions meet.
        raise DataError(
            f"{where}: must be a molecule in the format SDF, got one that cannot be read "
            f"({type(error).__name__}: {error})"
        ) from error
    if len(atoms) != announced:
        raise DataError(f"{where}: must be {announced} atoms, as announced, got {len(atoms)}")
    return atoms


def pdb_with_ends(text: str) -> str:
    """The text of a PDB file with one line `END` or `ENDMDL` after the atoms of each model.

    ASE takes each such line for the end of a model, also the `END` of the file after the `ENDMDL`
    of its last model, and loses atoms after the last of them.
    """
    kept = []
    pending = False
    for line in text.splitlines():
        end = line.startswith("END")
        if pending or not end:
            kept.append(line)
        pending = line.startswith(("MODEL", "ATOM", "HETATM")) or (pending and not end)
    return "\n".join([*kept, "END" if pending else "", ""])
