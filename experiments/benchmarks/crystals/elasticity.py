"""Equations of state and elastic constants of cubic crystals."""

import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import Calculator
from ase.eos import EquationOfState
from ase.optimize import BFGS
from rich.console import Console

from experiments.benchmarks.crystals.phonons import CRYSTALS
from experiments.benchmarks.crystals.prototypes import cubic_elements
from experiments.benchmarks.crystals.rest import at_rest
from experiments.benchmarks.crystals.trained import trained
from experiments.benchmarks.crystals.untrained import Sizes, untrained
from experiments.benchmarks.report import Table
from experiments.errors import UsageError
from experiments.runs.folder import RunFolder

_VOLUMES = np.linspace(0.94, 1.06, 9)
"""Relative to that at rest."""
_STRAIN = 1e-3
_FORCE, _STEPS = 1e-4, 200


class Elasticity(NamedTuple):
    """A cubic crystal at rest, and how stiff it is.

    Attributes:
      volume: of an atom, in Angstrom^3.
      energy: of an atom, in eV.
      bulk_modulus: of the fitted equation of state, in GPa.
      c11: elastic constants from stresses, in GPa, with atoms where they come to rest.
      c12: as above.
      c44: as above.
      volumes: of an atom, to which the equation of state is fitted.
      energies: there, in eV.
    """

    volume: float
    energy: float
    bulk_modulus: float
    c11: float
    c12: float
    c44: float
    volumes: tuple[float, ...] = ()
    energies: tuple[float, ...] = ()

    @property
    def from_constants(self) -> float:
        """The bulk modulus that the elastic constants have: the other one, if stress is right."""
        return (self.c11 + 2 * self.c12) / 3


def elasticity(atoms: Atoms, calculator: Calculator) -> Elasticity:
    """Fits an equation of state by Birch and Murnaghan, and strains the crystal in three ways.

    Args:
      atoms: a cubic crystal, near to its rest.
      calculator: of energies, forces and stresses.

    Raises:
      UsageError: the energies have no minimum there.
    """
    rest, _, _ = at_rest(atoms, calculator, _FORCE, _STEPS)
    scaled = [_strained(rest, (ratio ** (1 / 3) - 1) * np.eye(3)) for ratio in _VOLUMES]
    energies = np.array([one.get_potential_energy() for one in scaled])
    volumes = np.array([one.get_volume() for one in scaled])
    state = EquationOfState(volumes, energies, "birchmurnaghan")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            volume, energy, modulus = state.fit(warn=False)
    except (RuntimeError, ValueError, Warning) as error:
        raise UsageError(
            f"{atoms.symbols}: must have a least energy near its volume, got {energies.tolist()} eV "
            f"({error})"
        ) from None
    axial, shear = np.zeros((3, 3)), np.zeros((3, 3))
    axial[0, 0] = 1
    shear[1, 2] = shear[2, 1] = 0.5
    along, across = (_slope(rest, strain) for strain in (axial, shear))
    count = len(atoms)
    return Elasticity(
        *(volume / count, energy / count, modulus / units.GPa, along[0], along[1], across[3]),
        *(tuple((values / count).tolist()) for values in (volumes, energies)),
    )


def _strained(atoms: Atoms, strain: np.ndarray) -> Atoms:
    other = atoms.copy()
    other.calc = atoms.calc
    other.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
    return other


def _slope(atoms: Atoms, strain: np.ndarray) -> np.ndarray:
    """How the stress changes with a strain, in GPa."""
    ends = []
    for sign in (1, -1):
        moved = _strained(atoms, sign * _STRAIN * strain)
        BFGS(moved, logfile=None).run(fmax=_FORCE, steps=_STEPS)
        ends.append(moved.get_stress())
    return (ends[0] - ends[1]) / (2 * _STRAIN * units.GPa)


def measure(
    console: Console, run: RunFolder | None, sizes: Sizes, seed: int
) -> dict[str, Elasticity]:
    """The elasticity of crystals of a trained potential, or of the untrained one.

    Args:
      console: where progress is shown.
      run: the folder of a run on crystals.
      sizes: of the untrained network.
      seed: of its weights.

    Raises:
      UsageError: the run has no potential of crystals, or none of its elements is cubic.
    """
    crystals = {name: atoms for name, (atoms, _) in CRYSTALS.items()}
    if run is None:
        calculator: Calculator = untrained("local", sizes, seed)
    else:
        calculator, elements, _ = trained(run)
        crystals = cubic_elements(elements)
        if not crystals:
            raise UsageError(
                f"{run.path}: must be a potential of an element that is cubic, got one of the "
                f"elements {list(elements)}"
            )
    found = {}
    for name, atoms in crystals.items():
        with console.status(f"elasticity of {name}"):
            found[name] = elasticity(atoms, calculator)
    return found


def table_of(found: Mapping[str, Elasticity]) -> Table:
    """Lengths and moduli."""
    names = ["crystal", "volume, A^3/atom", "energy, eV/atom", "bulk modulus, GPa", "of constants"]
    rows = [
        [
            name,
            f"{one.volume:.3f}",
            f"{one.energy:.4f}",
            *(
                f"{value:.2f}"
                for value in (one.bulk_modulus, one.from_constants, one.c11, one.c12, one.c44)
            ),
        ]
        for name, one in found.items()
    ]
    return Table([*names, "C11", "C12", "C44"], rows)


def numbers_of(found: Mapping[str, Elasticity]) -> dict[str, Any]:
    """All that was found, in the types of JSON."""
    return {
        name: one._asdict() | {"from_constants": one.from_constants} for name, one in found.items()
    }
