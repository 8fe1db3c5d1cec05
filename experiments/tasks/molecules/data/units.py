"""Units of molecular data: what a caller states, checked against what a file declares."""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import ase.units
import numpy as np

from experiments.data.npz import DataError
from experiments.errors import UsageError

_ENERGIES = {
    "eV": ase.units.eV,
    "meV": 1e-3 * ase.units.eV,
    "kcal/mol": ase.units.kcal / ase.units.mol,
    "kJ/mol": ase.units.kJ / ase.units.mol,
    "hartree": ase.units.Hartree,
}
_LENGTHS = {"Angstrom": ase.units.Angstrom, "bohr": ase.units.Bohr, "nm": ase.units.nm}
_SCALES = {
    "energy": _ENERGIES,
    "length": _LENGTHS,
    "forces": {
        f"{energy}/{length}": _ENERGIES[energy] / _LENGTHS[length]
        for energy in _ENERGIES
        for length in _LENGTHS
    },
    "dipole": {
        "e*Angstrom": ase.units.Angstrom,
        "Debye": ase.units.Debye,
        "e*bohr": ase.units.Bohr,
    },
    "polarizability": {"Angstrom^3": ase.units.Angstrom**3, "bohr^3": ase.units.Bohr**3},
}
"""In eV, Angstrom and elementary charges: the units of each quantity, by their names."""

# In lower case and in the singular, beside the names above.
_SPELLINGS = {
    "electronvolt": "eV",
    "kcalmol": "kcal/mol",
    "kcal": "kcal/mol",
    "kjmol": "kJ/mol",
    "kj": "kJ/mol",
    "ha": "hartree",
    "eh": "hartree",
    "ang": "Angstrom",
    "a": "Angstrom",
    "å": "Angstrom",
    "a0": "bohr",
    "nanometer": "nm",
    "nanometre": "nm",
    "d": "Debye",
}
_ATOMIC = {"energy": "hartree", "length": "bohr", "forces": "hartree/bohr", "dipole": "e*bohr"}

# What files call the unit of a quantity: `energy_unit`, `e_unit`, `forces_units` ...
_DECLARED = {
    "energy": r"e|energy|energies",
    "length": r"r|length|pos|positions?|coords?|coordinates?",
    "forces": r"f|forces?",
    "dipole": r"d|dipoles?",
    "polarizability": r"alpha|polarizabilit(y|ies)",
}

# What the arrays of molecules are quantities of.
_QUANTITIES = {
    "positions": "length",
    "energies": "energy",
    "forces": "forces",
    "dipoles": "dipole",
    "polarizabilities": "polarizability",
}


class Units(NamedTuple):
    """The units that a caller states, by their names."""

    energy: str
    length: str
    forces: str
    dipole: str
    polarizability: str

    def scale(self, name: str) -> float:
        """The unit of `positions`, `energies` ..., in eV, Angstrom and elementary charges."""
        quantity = _QUANTITIES[name]
        return _SCALES[quantity][getattr(self, quantity)]


def stated_units(
    energy: str = "eV",
    length: str = "Angstrom",
    forces: str | None = None,
    dipole: str = "e*Angstrom",
    polarizability: str = "Angstrom^3",
) -> Units:
    """Checks the names of units, in any letter case.

    Args:
      energy: unit of energies.
      length: unit of lengths.
      forces: an energy, a slash and a length; `None` for the two above.
      dipole: unit of dipole moments.
      polarizability: unit of polarizability volumes.

    Returns:
      The units.

    Raises:
      UsageError: a unit is not known.
    """
    energy, length = _known("energy", energy), _known("length", length)
    forces = f"{energy}/{length}" if forces is None else _known("forces", forces)
    rest = _known("dipole", dipole), _known("polarizability", polarizability)
    return Units(energy, length, forces, *rest)


def check_declared(
    where: str, declared: Mapping[str, object], units: Units, read: Iterable[str]
) -> None:
    """Refuses units that a file declares if they are not those that the caller states.

    Units of what is not read do not matter.

    Args:
      where: the file and the place in it, for the error.
      declared: names and values of a snapshot or a file, most of which are no units.
      units: what the caller states.
      read: what is read, of `positions`, `energies`, `forces`, `dipoles` and `polarizabilities`.

    Raises:
      DataError: a declared unit is another one, or is not known.
    """
    quantities = [_QUANTITIES[name] for name in read if name in _QUANTITIES]
    for name, value in declared.items():
        if not isinstance(value, str | np.str_ | np.ndarray) or not name.lower().endswith(
            ("unit", "units")
        ):
            continue
        text = " ".join(map(str, np.ravel(value)))
        stem = re.sub(r"[_-]?units?$", "", name.lower())
        for quantity in quantities:
            named = re.fullmatch(_DECLARED[quantity], stem)
            if named and known_unit(quantity, text) != getattr(units, quantity):
                raise _contradiction(where, name, text, quantity, units)
        if not stem:
            # One list for all quantities: only the words that are units mean anything.
            for word in re.split(r"[\s,;:]+", text):
                meanings = {quantity: known_unit(quantity, word) for quantity in quantities}
                for quantity, unit in meanings.items():
                    if unit is not None and unit != getattr(units, quantity):
                        raise _contradiction(where, name, text, quantity, units)


def _contradiction(where: str, name: str, text: str, quantity: str, units: Units) -> DataError:
    return DataError(
        f"{where}: {quantity}_unit must be what the file declares, {name} = {text}, got "
        f"{getattr(units, quantity)}"
    )


def _known(quantity: str, text: str) -> str:
    unit = known_unit(quantity, text)
    if unit is None:
        names = ", ".join(unit_names(quantity))
        raise UsageError(f"{quantity}_unit must be one of {names}, got {text!r}")
    return unit


def unit_names(quantity: str) -> tuple[str, ...]:
    """The units of a quantity, in the spelling that messages show."""
    return tuple(_SCALES[quantity])


def known_unit(quantity: str, text: str) -> str | None:
    """The name of a unit that is spelled in any usual way, `None` if it is none of the quantity."""
    word = re.sub(r"[\s_]", "", text).lower()
    if word in ("au", "a.u.", "atomic"):
        return _ATOMIC.get(quantity)
    word = re.sub(r"(?<=...)s$", "", word)
    names = {name.lower(): name for name in _SCALES[quantity]}
    unit = names.get(word, _SPELLINGS.get(word))
    if unit is None and quantity == "forces":
        energy, _, length = word.rpartition("/")
        unit = f"{known_unit('energy', energy)}/{known_unit('length', length)}"
    elif unit is None and quantity == "dipole" and word.startswith("e"):
        unit = f"e*{known_unit('length', word.removeprefix('e').removeprefix('*'))}"
    elif unit is None and quantity == "polarizability" and word.endswith("3"):
        unit = f"{known_unit('length', word.removesuffix('3').rstrip('*^'))}^3"
    return unit if unit in _SCALES[quantity] else None
