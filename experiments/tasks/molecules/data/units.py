"""Units of molecular data: what a caller states, checked against what a file declares."""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import ase.units
import numpy as np

from experiments.data.npz import DataError
from experiments.errors import UsageError

_ENERGIES = {
    "eV": (ase.units.eV, "ev electronvolt electronvolts"),
    "meV": (1e-3 * ase.units.eV, "mev"),
    "kcal/mol": (ase.units.kcal / ase.units.mol, "kcal/mol kcalmol kcal"),
    "kJ/mol": (ase.units.kJ / ase.units.mol, "kj/mol kjmol kj"),
    "hartree": (ase.units.Hartree, "hartree hartrees ha eh au a.u. atomic"),
}
_LENGTHS = {
    "Angstrom": (ase.units.Angstrom, "angstrom angstroms ang a å"),
    "bohr": (ase.units.Bohr, "bohr bohrs a0 au a.u. atomic"),
    "nm": (ase.units.nm, "nm nanometer nanometers nanometre nanometres"),
}
_DIPOLES = {
    "e*Angstrom": (ase.units.Angstrom, "e*angstrom eangstrom e*ang eang e*a ea e*å eå"),
    "Debye": (ase.units.Debye, "debye debyes d"),
    "e*bohr": (ase.units.Bohr, "e*bohr ebohr e*a0 ea0 au a.u. atomic"),
}
_POLARIZABILITIES = {
    "Angstrom^3": (
        ase.units.Angstrom**3,
        "angstrom^3 angstrom3 angstrom**3 ang^3 ang3 a^3 a3 å^3 å3",
    ),
    "bohr^3": (ase.units.Bohr**3, "bohr^3 bohr3 bohr**3 a0^3 a0**3"),
}
_FORCES = {
    f"{energy}/{length}": (
        scale / unit,
        " ".join(f"{up}/{down}" for up in names.split() for down in others.split())
        + (" au a.u. atomic" if (energy, length) == ("hartree", "bohr") else ""),
    )
    for energy, (scale, names) in _ENERGIES.items()
    for length, (unit, others) in _LENGTHS.items()
}
_TABLES = {"energy": _ENERGIES, "length": _LENGTHS, "forces": _FORCES, "dipole": _DIPOLES}
_TABLES["polarizability"] = _POLARIZABILITIES

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
    """The units that a caller states, one name of the tables above for each quantity."""

    energy: str
    length: str
    forces: str
    dipole: str
    polarizability: str

    def scale(self, name: str) -> float:
        """The unit of `positions`, `energies` ..., in eV, Angstrom and elementary charges."""
        quantity = _QUANTITIES[name]
        return _TABLES[quantity][getattr(self, quantity)][0]


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
      declared: names and values of a frame or a file, most of which are no units.
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
            if named and _found(quantity, text) != getattr(units, quantity):
                raise _contradiction(where, name, text, quantity, units)
        if not stem:
            # One list for all quantities: only the words that are units mean anything.
            for word in re.split(r"[\s,;:]+", text):
                meanings = {quantity: _found(quantity, word) for quantity in quantities}
                for quantity, unit in meanings.items():
                    if unit is not None and unit != getattr(units, quantity):
                        raise _contradiction(where, name, text, quantity, units)


def _contradiction(where: str, name: str, text: str, quantity: str, units: Units) -> DataError:
    return DataError(
        f"{where}: declares {name} = {text}, but {quantity}_unit is {getattr(units, quantity)}; "
        f"allowed: one unit for each quantity of a file, stated as {quantity}_unit"
    )


def _known(quantity: str, text: str) -> str:
    unit = _found(quantity, text)
    if unit is None:
        raise UsageError(f"{quantity}_unit is {text!r}; allowed: {', '.join(_TABLES[quantity])}")
    return unit


def _found(quantity: str, text: str) -> str | None:
    spelling = re.sub(r"[\s_]", "", text).lower()
    for unit, (_, spellings) in _TABLES[quantity].items():
        if spelling in spellings.split():
            return unit
    return None
