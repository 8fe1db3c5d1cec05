"""Units by name: what is known of each, in eV, Angstrom and elementary charges."""

import re

import ase.units

_ENERGIES = {
    "eV": ase.units.eV,
    "meV": 1e-3 * ase.units.eV,
    "kcal/mol": ase.units.kcal / ase.units.mol,
    "kJ/mol": ase.units.kJ / ase.units.mol,
    "hartree": ase.units.Hartree,
}
_LENGTHS = {"Angstrom": ase.units.Angstrom, "bohr": ase.units.Bohr, "nm": ase.units.nm}
_STRESSES = {
    "eV/Angstrom^3": ase.units.eV / ase.units.Angstrom**3,
    "hartree/bohr^3": ase.units.Hartree / ase.units.Bohr**3,
    "GPa": ase.units.GPa,
    "MPa": 1e-3 * ase.units.GPa,
    "kbar": 1e3 * ase.units.bar,
    "bar": ase.units.bar,
}
SCALES = {
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
    "stress": _STRESSES,
    # Of stresses too: virials that were divided by the volume, as VASP prints them.
    "virial": _ENERGIES | _STRESSES,
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
    "kb": "kbar",
}
_ATOMIC = {
    "energy": "hartree",
    "length": "bohr",
    "forces": "hartree/bohr",
    "dipole": "e*bohr",
    "polarizability": "bohr^3",
    "stress": "hartree/bohr^3",
    "virial": "hartree",
}


def unit_names(quantity: str) -> tuple[str, ...]:
    """The units of a quantity, in the spelling that messages show."""
    return tuple(SCALES[quantity])


def known_unit(quantity: str, text: str) -> str | None:
    """The name of a unit that is spelled in any usual way, `None` if it is none of the quantity."""
    # kcal mol^-1 A^-1 and kcal/(mol A) are kcal/mol/A.
    word = re.sub(r"/\(([^()]+)\)", lambda below: "/" + "/".join(below[1].split("*")), text.lower())
    word = re.sub(r"[\s*]+([a-zå]+0?)\^?(?:[-\u2212]1|\u207b\u00b9)", r"/\1", word)
    word = re.sub(r"[\s_]", "", word)
    if word in ("au", "a.u.", "atomic"):
        return _ATOMIC.get(quantity)
    word = re.sub(r"(?<=...)s$", "", word)
    names = {name.lower(): name for name in SCALES[quantity]}
    unit = names.get(word, _SPELLINGS.get(word))
    if unit is None and quantity == "forces":
        energy, _, length = word.rpartition("/")
        unit = f"{known_unit('energy', energy)}/{known_unit('length', length)}"
    elif unit is None and quantity == "dipole" and word.startswith("e"):
        unit = f"e*{known_unit('length', word.removeprefix('e').removeprefix('*'))}"
    elif unit is None and quantity == "polarizability":
        # Also a0 a0 a0.
        cube = re.fullmatch(r"(.+?)\*?\1\*?\1|(.+?)[*^]*3", word)
        unit = f"{known_unit('length', cube[1] or cube[2])}^3" if cube else None
    elif unit is None and quantity in ("stress", "virial"):
        energy, _, volume = word.rpartition("/")
        unit = f"{known_unit('energy', energy)}/{known_unit('polarizability', volume)}"
    return unit if unit in SCALES[quantity] else None


def is_per_volume(unit: str) -> bool:
    """Whether a unit of virials is one of virials over volumes."""
    return unit in _STRESSES
