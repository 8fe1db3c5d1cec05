"""What is predicted of a molecule: its units, its metric, and how motions act on it."""

from typing import NamedTuple

import ase.units

import symjax_frames as sf


class Quantity(NamedTuple):
    """One kind of prediction.

    Attributes:
      unit: of predictions and data, as figures spell it.
      metric: the name of its mean absolute error, which ends in the unit of the error.
      per_unit: units of the metric in one of `unit`.
      action: how motions act on it; `None` if no motion changes it.
    """

    unit: str
    metric: str
    per_unit: float
    action: sf.Action | None


QUANTITIES = {
    "energy": Quantity("eV", "energy_meV", 1000.0, None),
    "forces": Quantity("eV/Å", "forces_meV_A", 1000.0, sf.vectors),
    "stress": Quantity("eV/Å³", "stress_GPa", 1.0 / ase.units.GPa, sf.tensors(2)),
    "dipole": Quantity("e Å", "dipole_mD", 1000.0 / ase.units.Debye, sf.vectors),
    "polarizability": Quantity("Å³", "polarizability_A3", 1.0, sf.tensors(2)),
}
"""By the names of the arrays of predictions and of data sets."""

UNITS_OF_ROOTS = {"energy": "meV_atom", "forces": "meV_A", "stress": "GPa"}
"""The ends of the names of roots of mean squares; those of energies are of an atom."""


def main_quantity(targets: str) -> str:
    """The quantity whose error selects the best parameters: forces where there are any."""
    return "forces" if targets == "energy_forces" else targets
