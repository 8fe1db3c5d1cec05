"""A snapshot as `predict` writes it: what was predicted, beside all that the file says of it."""

import io
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import ase.io
import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms, FixCartesian
from ase.io.extxyz import key_val_dict_to_str, key_val_str_to_dict, per_atom_properties

from experiments.data.npz import DataError
from experiments.tasks.molecules.batches import Labelled
from experiments.tasks.molecules.data.units import check_declared, stated_units
from experiments.tasks.molecules.spread import ENERGY, FORCES, FRAME

_PREDICTED = {"energy", "free_energy", "energies", "forces", "stress", "stresses"}
"""What would be taken for predictions."""
_OWN = {"source_snapshot", "cell_ignored", "Properties", "Lattice", "pbc"}
# What the number of a snapshot was called in files of older versions.
_OWN |= {"source_frame"}
_OWN |= {FRAME, ENERGY, FORCES}
_OF_ATOMS = {"numbers", "symbols", "species", "Z", "positions", "pos", "move_mask", "charge"}
"""Names of columns that ASE takes for something else, or writes itself."""
_UNITS = stated_units()
_DECIMALS = 8
"""Of columns, as ASE writes them."""


class Written(NamedTuple):
    """A snapshot in extended XYZ, and what of the file is not in it.

    Attributes:
      text: the snapshot.
      replaced: names of what stands for a prediction, for its unit, or for an entry of ours.
      lost: names of what the format cannot hold.
    """

    text: str
    replaced: tuple[str, ...]
    lost: tuple[str, ...]


def as_extended_xyz(number: int, prediction: Labelled, *, cell_ignored: bool = False) -> Written:
    """Writes a snapshot with its columns, info, constraints and cell, and with what was predicted.

    A prediction takes the place of what the file has under its name, and units, which would be
    those of predictions, are left out.

    Args:
      number: of the snapshot in its file, from 1.
      prediction: the snapshot, and what was predicted of it.
      cell_ignored: whether that is of its atoms by themselves, although it is periodic.
    """
    source = prediction.atoms
    columns, info = _said_of(source)
    units = _units_in({name: value for name, value in info.items() if not _is_replaced(name)})
    replaced = [name for name in (*columns, *info) if _is_replaced(name) or name in units]
    for name in replaced:
        columns.pop(name, None)
        info.pop(name, None)
    atoms = Atoms(source.numbers, source.positions, pbc=source.pbc)
    atoms.info = {"source_snapshot": number, **prediction.spreads, **_kept(info)}
    if cell_ignored:
        atoms.info["cell_ignored"] = True
    arrays = _writable(columns, len(source), {name: source.arrays[name] for name in atoms.arrays})
    atoms.arrays |= arrays
    fixed = [one for one in source.constraints if isinstance(one, FixAtoms | FixCartesian)]
    atoms.set_constraint(fixed)
    lost = [
        *(name for name in info if name not in atoms.info),
        *(name for name in columns if name not in arrays),
        *(f"{name} (what is below 1e-{_DECIMALS})" for name in arrays if _is_rounded(arrays[name])),
        *(type(one).__name__ for one in source.constraints if one not in fixed),
    ]
    if np.all(np.isfinite(source.cell)):
        atoms.cell = source.cell
    else:
        lost.append("cell")
    results = {"energy": prediction.energy, "forces": prediction.forces}
    if prediction.stress is not None:
        results["stress"] = prediction.stress
    atoms.calc = SinglePointCalculator(atoms, **results)
    text = io.StringIO()
    ase.io.write(text, atoms, format="extxyz")
    return Written(text.getvalue(), tuple(replaced), tuple(lost))


def _said_of(source: Atoms) -> tuple[dict[str, Any], dict[str, Any]]:
    """The columns and the info of a snapshot, each with the results of its calculator."""
    results = {**getattr(source.calc, "results", {})}
    of_atoms = {name: results.pop(name) for name in per_atom_properties if name in results}
    columns = {name: source.arrays[name] for name in source.arrays}
    for name in ("numbers", "positions"):
        del columns[name]
    return columns | of_atoms, _flat(source.info) | results


def _flat(info: Mapping[str, Any]) -> dict[str, Any]:
    """The info of a snapshot, with what a database has one level below."""
    holders = {
        key: info[key] for key in ("data", "key_value_pairs") if isinstance(info.get(key), Mapping)
    }
    nested = {name: value for holder in holders.values() for name, value in holder.items()}
    return nested | {name: value for name, value in info.items() if name not in holders}


def _is_replaced(name: str) -> bool:
    return name in _PREDICTED | _OWN or str(name).lower().endswith(("unit", "units"))


def _units_in(info: Mapping[str, Any]) -> set[str]:
    """The names of entries that declare other units than those of predictions."""
    named = {name: value for name, value in info.items() if isinstance(name, str)}
    units = {name for name, value in named.items() if _declares_another({name: value})}
    others = {name: value for name, value in named.items() if name not in units}
    if _declares_another(others):
        # In a plain comment line a word of its own is a key whose value is true.
        units |= {name for name, value in others.items() if value is True}
    return units


def _declares_another(info: Mapping[str, Any]) -> bool:
    try:
        check_declared("", info, _UNITS, ("positions", "energies", "forces"))
    except DataError:
        return True
    return False


def _column(name: str, value: Any, atoms: int) -> np.ndarray | None:
    """An array of the atoms as ASE can write and read it; nothing if it cannot."""
    try:
        column = np.asarray(value)
    except ValueError:  # Rows of different lengths.
        return None
    if column.ndim not in (1, 2) or len(column) != atoms or column.size == 0:
        return None
    if name in _OF_ATOMS or not re.fullmatch(r"[A-Za-z_][\w.-]*", name, re.ASCII):
        return None
    if column.dtype.kind in "US" or column.dtype == object:
        words = column.astype(object)
        whole = all(isinstance(word, str) and _is_word(word) for word in words.flat)
        return words.astype(str) if whole else None
    if column.dtype.kind in "iu" and np.max(column) < 2**62:
        return column.astype(np.int64)
    if column.dtype.kind == "f" and np.all(np.isfinite(column)):
        return column.astype(np.float64)
    return column if column.dtype == bool else None


def _is_rounded(column: np.ndarray) -> bool:
    if column.dtype.kind != "f":
        return False
    error = np.max(np.abs(column.round(_DECIMALS) - column))
    return bool(error > 1e-5 * np.max(np.abs(column)))


def _is_word(text: str) -> bool:
    return re.fullmatch(r"[^\s\0\ud800-\udfff]+", text) is not None


def _writable(
    columns: Mapping[str, Any], atoms: int, own: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """The columns that ASE can write and read beside its own and each other."""
    written: dict[str, np.ndarray] = {}
    taken = {*_fields("forces", own["positions"])}.union(*(_fields(*item) for item in own.items()))
    for name, value in columns.items():
        column = _column(name, value, atoms)
        if column is not None and not taken & _fields(name, column):
            written[name] = column
            taken |= _fields(name, column)
    return written


def _fields(name: str, column: np.ndarray) -> set[str]:
    """What ASE calls the numbers of a column: those of a vector have names with a digit."""
    if column.ndim == 1 or column.shape[1] == 1:
        return {name}
    return {f"{name}{axis}" for axis in range(column.shape[1])}


def _kept(info: Mapping[str, Any]) -> dict[str, Any]:
    """The entries that are read as they were written, from the same comment line."""
    # ASE escapes quotes, and writes a backslash as if it escaped what follows.
    written = {
        name: value.replace("\\", "\\\\") if isinstance(value, str) else value
        for name, value in info.items()
    }
    if _read_back(written, info):
        return written
    return {name: written[name] for name in info if _read_back({name: written[name]}, info)}


def _read_back(written: Mapping[str, Any], info: Mapping[str, Any]) -> bool:
    """Whether entries of a comment line are read as they are in the info, and the next one too."""
    try:
        comment = f"{key_val_dict_to_str(dict(written))} after=1"
        comment.encode()
        entries = key_val_str_to_dict(comment)
        return (
            not {"\n", "\r", "\0"} & set(comment)
            and list(entries) == [*written, "after"]
            and all(_same(info[name], entries[name]) for name in written)
        )
    except Exception:  # ASE raises whatever its conversions meet.
        return False


def _same(value: Any, read: Any) -> bool:
    if isinstance(value, str):
        # A text of digits is read as a number, which is no loss.
        return value == read or not isinstance(read, str)
    if value is None or isinstance(value, Mapping) or isinstance(read, Mapping):
        return bool(value is not None and value == read)
    one, other = np.asarray(value), np.asarray(read)
    alike = one.shape == other.shape or one.size == other.size == 1
    numeric = one.dtype.kind in "biuf" and other.dtype.kind in "biuf"
    return alike and np.array_equal(one.ravel(), other.ravel(), equal_nan=numeric)
