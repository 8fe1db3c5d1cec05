"""Energies of molecules by tight binding: GFN2-xTB, in eV and angstrom."""

import os
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Float

from experiments.errors import UsageError

if TYPE_CHECKING:
    from ase import Atoms

# Of the energy: forces are wrong by 2e-6 eV/angstrom, at 1.3 times the cost of the default.
_ACCURACY = 0.01


class PotentialError(Exception):
    """There is no energy at these positions, or none that can be trusted; says why."""


class Labels(NamedTuple):
    """What the calculation gives for one set of positions.

    Attributes:
      energy: in eV.
      forces: minus the gradient of the energy, in eV/angstrom.
      dipole: in e angstrom, from negative to positive charge.
    """

    energy: Float[np.ndarray, ""]
    forces: Float[np.ndarray, "atoms 3"]
    dipole: Float[np.ndarray, " 3"]


class TightBinding:
    """The energy of a neutral molecule by GFN2-xTB, as a function of its positions.

    A call starts from the electrons of the call before, which saves a quarter of the time and
    changes forces by no more than the accuracy allows, 2e-6 eV/angstrom. After a call that failed,
    the next one starts afresh.

    Args:
      atoms: the molecule; its magnetic moments say how many electrons are unpaired.

    Raises:
      UsageError: tblite is not installed.

    References:
      Bannwarth, Ehlert and Grimme, GFN2-xTB, J. Chem. Theory Comput. 2019,
      doi:10.1021/acs.jctc.8b01176.
    """

    def __init__(self, atoms: "Atoms"):
        from ase import units

        self._bohr, self._hartree = units.Bohr, units.Hartree
        self._electrons: Any = None
        unpaired = round(float(atoms.get_initial_magnetic_moments().sum()))
        self._calculator = _interface().Calculator(
            "GFN2-xTB", atoms.numbers, atoms.positions / units.Bohr, charge=0.0, uhf=unpaired
        )
        self._calculator.set("verbosity", 0)
        self._calculator.set("accuracy", _ACCURACY)

    def __call__(self, positions: Float[np.ndarray, "atoms 3"]) -> Labels:
        """Energy, forces and dipole.

        Args:
          positions: in angstrom.

        Returns:
          Finite numbers.

        Raises:
          PotentialError: the electrons do not converge, atoms coincide, or a number is not finite.
        """
        if not np.all(np.isfinite(positions)):
            raise PotentialError("an atom has no finite position")
        electrons, self._electrons = self._electrons, None
        try:
            self._calculator.update(positions=positions / self._bohr)
            electrons = self._calculator.singlepoint(electrons)
        except RuntimeError as error:
            raise PotentialError(str(error)) from error
        labels = Labels(
            np.asarray(electrons["energy"] * self._hartree),
            -electrons["gradient"] * (self._hartree / self._bohr),
            electrons["dipole"] * self._bohr,
        )
        if not all(np.all(np.isfinite(values)) for values in labels):
            raise PotentialError("the energy, a force or the dipole is not finite")
        self._electrons = electrons
        return labels


def _interface() -> Any:
    # OpenMP reads the variable as it is loaded. Two threads round sums in another order, and on
    # shared cores they were thirty times slower, because they wait for each other at every loop.
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        from tblite import interface
    except ImportError as error:
        raise UsageError(
            f"the package tblite, which computes the energies, must be installed, got: {error} "
            "(`pip install -e '.[molecules]'`; a file of molecules needs no tblite)"
        ) from None
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before
    return interface
