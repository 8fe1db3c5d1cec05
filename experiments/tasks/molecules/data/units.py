"""Units of molecular data: what a caller states, checked against what a file declares."""

import re
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

import numpy as np

from experiments.data.npz import DataError
from experiments.errors import UsageError
from experiments.tasks.molecules.data.declarations import Declaration, declarations, stem_of
from experiments.tasks.molecules.data.unit_names import SCALES, known_unit, unit_names

# What files call the unit of a quantity: `energy_unit`, `e_unit`, `forces_units` ...
_DECLARED = {
    "energy": r"e|energy|energies",
    "length": r"r|lengths?|distances?|pos|positions?|coords?|coordinates?",
    "forces": r"f|forces?|gradients?",
    "dipole": r"d|dipoles?|dipole_moments?",
    "polarizability": r"alpha|polarizabilit(y|ies)",
    "stress": r"stress(es)?",
    "virial": r"virials?",
}

# Styles of units in LAMMPS.
_STYLES = {
    "metal": {"energy": "eV", "length": "Angstrom"},
    "real": {"energy": "kcal/mol", "length": "Angstrom"},
    "electron": {"energy": "hartree", "length": "bohr"},
}
# Units that have no name here: they must not be taken for words.
_FOREIGN = {
    "energy": ("ry", "rydberg", "rydbergs", "cm^-1", "cm-1", "j", "joule", "si", "lj", "cgs"),
    "length": ("pm", "m", "meter", "meters", "si", "lj", "cgs"),
}
_ROUNDED = 1e-4

# What the arrays of molecules are quantities of.
_QUANTITIES = {
    "positions": "length",
    "energies": "energy",
    "forces": "forces",
    "dipoles": "dipole",
    "polarizabilities": "polarizability",
    "cells": "length",
    "stresses": "stress",
    "virials": "virial",
}


class Units(NamedTuple):
    """The units that a caller states, by their names."""

    energy: str
    length: str
    forces: str
    dipole: str
    polarizability: str
    stress: str
    virial: str

    def scale(self, name: str) -> float:
        """The unit of `positions`, `energies` ..., in eV, Angstrom and elementary charges."""
        quantity = _QUANTITIES[name]
        return SCALES[quantity][getattr(self, quantity)]


def stated_units(
    energy: str = "eV",
    length: str = "Angstrom",
    forces: str | None = None,
    dipole: str = "e*Angstrom",
    polarizability: str = "Angstrom^3",
    stress: str = "eV/Angstrom^3",
    virial: str | None = None,
) -> Units:
    """Checks the names of units, in any letter case.

    Args:
      energy: unit of energies.
      length: unit of lengths.
      forces: an energy, a slash and a length; `None` for the two above.
      dipole: unit of dipole moments.
      polarizability: unit of polarizability volumes.
      stress: unit of stresses.
      virial: an energy, or a stress for virials over the volume; `None` for the energy above.

    Returns:
      The units.

    Raises:
      UsageError: a unit is not known.
    """
    energy, length = _known("energy", energy), _known("length", length)
    forces = f"{energy}/{length}" if forces is None else _known("forces", forces)
    virial = energy if virial is None else _known("virial", virial)
    rest = _known("dipole", dipole), _known("polarizability", polarizability)
    return Units(energy, length, forces, *rest, _known("stress", stress), virial)


def check_declared(
    where: str,
    declared: Mapping[str, object],
    units: Units,
    read: Iterable[str],
    keys: Mapping[str, str | None] | None = None,
) -> None:
    """Refuses units that a file declares if they are not those that the caller states.

    Units of what is not read do not matter. Those of energies also hold for forces, and a unit that
    is named after the key that is read comes before that of the quantity.

    Args:
      where: the file and the place in it, for the error.
      declared: names and values of a snapshot or a file, most of which are no units; `declarations`
        says which are.
      units: what the caller states.
      read: what is read, of the names of arrays, such as `positions` and `energies`.
      keys: what the file calls them.

    Raises:
      DataError: a declared unit is another one, is not known, or is not readable.
    """
    found = list(declarations(declared))
    if not found:
        return
    names = [name for name in read if name in _QUANTITIES]
    words = {_QUANTITIES[name]: stem_of((keys or {}).get(name) or "") for name in names}
    if "forces" in words:
        words.setdefault("energy", "")
    for quantity, key in words.items():
        own = [one for one in found if key and one.of == key]
        alike = [one for one in found if re.fullmatch(_DECLARED[quantity], one.of)]
        for one in own or alike:
            if not _same(quantity, one.unit, units):
                raise _contradiction(where, one, quantity, units)
    # Units of everything are those of energies and lengths; virials may be over volumes.
    others = [quantity for quantity in words if quantity != "virial"]
    for one in found:
        if not one.of:
            _check_list(where, one, others, units)


def _same(quantity: str, unit: str | float | None, units: Units) -> bool:
    stated = getattr(units, quantity)
    if isinstance(unit, float):
        return bool(np.isclose(unit, SCALES[quantity][stated], rtol=_ROUNDED, atol=0))
    return unit is not None and known_unit(quantity, unit) == stated


def _check_list(
    where: str, declared: Declaration, quantities: Collection[str], units: Units
) -> None:
    """Checks one text about all quantities, of which only words that are units mean anything."""
    text = declared.unit if isinstance(declared.unit, str) else ""
    meanings: list[tuple[str, str | None]] = []
    for word in (text, *re.split(r"[\s,;:]+", text)):
        for quantity in (*quantities, *SCALES):
            unit = _STYLES.get(word.lower(), {}).get(quantity) or known_unit(quantity, word)
            if unit is not None or word.lower() in _FOREIGN.get(quantity, ()):
                meanings.append((quantity, unit))
    for quantity, unit in meanings:
        if quantity in quantities and unit != getattr(units, quantity):
            raise _contradiction(where, declared, quantity, units)
    if not meanings:
        raise DataError(
            f"{where}: units must be such as {units.energy} and {units.length}, in words, got "
            f"{_shown(declared)}"
        )


def _shown(declared: Declaration) -> str:
    unit = declared.unit
    return f"{declared.name} = {'pickled objects, which are not read' if unit is None else unit}"


def _contradiction(where: str, declared: Declaration, quantity: str, units: Units) -> DataError:
    return DataError(
        f"{where}: {quantity}_unit must be what the file declares, {_shown(declared)}, got "
        f"{getattr(units, quantity)}"
    )


def _known(quantity: str, text: str) -> str:
    unit = known_unit(quantity, text)
    if unit is None:
        names = ", ".join(unit_names(quantity))
        raise UsageError(f"{quantity}_unit must be one of {names}, got {text!r}")
    return unit
