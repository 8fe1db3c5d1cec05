"""Energies and forces of many molecules: those of one size together, large ones one by one."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np
from ase import Atoms
from ase.calculators.calculator import CalculationFailed
from jaxtyping import Array, Float, PyTree

from experiments.data.npz import DataError
from experiments.errors import UsageError
from experiments.tasks.molecules.calculator import (
    PotentialLike,
    Precision,
    SymmetrizedCalculator,
    enabled,
    value_and_slope,
)
from experiments.tasks.molecules.centred import centred
from experiments.tasks.molecules.data.read import Molecules, refuse_coincident
from experiments.tasks.molecules.data.units import check_declared, stated_units

PAIRS = 8192
"""Pairs of atoms that are evaluated at once: a bound of the memory that is needed."""
_MOST_ROWS = 64


class Labelled(NamedTuple):
    """A molecule and what was predicted of it.

    Attributes:
      atoms: the molecule.
      energy: in eV, with the reference energies of its atoms.
      forces: in eV/angstrom.
    """

    atoms: Atoms
    energy: float
    forces: Float[np.ndarray, "atoms 3"]


class Evaluator:
    """Energies and forces of many molecules; what is wrong with one costs no other.

    Args:
      potential: the energy, its elements and references.
      params: its parameters.
      dtype: the precision that energies above their references are computed in.
    """

    def __init__(
        self, potential: PotentialLike, params: PyTree[Array], dtype: Precision = "float32"
    ) -> None:
        self._potential = potential
        self._dtype = dtype
        self._evaluate = jax.jit(jax.vmap(value_and_slope(potential.energy(params))))
        # Large molecules have lists of neighbours, and the elements of a frame take turns.
        self._calculator = SymmetrizedCalculator.of(potential, params, dtype=dtype)

    def __call__(self, molecules: Sequence[tuple[str, Atoms]]) -> list[Labelled | DataError]:
        """Energies and forces.

        Args:
          molecules: what each is called in errors, and the molecule.

        Returns:
          What was predicted for each, or why nothing was.
        """
        results: dict[int, Labelled | DataError] = {}
        sizes: dict[int, list[tuple[int, np.ndarray]]] = {}
        for index, (label, atoms) in enumerate(molecules):
            try:
                species = self._checked(label, atoms)
            except UsageError as error:
                text = str(error)
                results[index] = DataError(text if text.startswith(label) else f"{label}: {text}")
            else:
                sizes.setdefault(len(atoms), []).append((index, species))
        for size, members in sizes.items():
            rows = min(PAIRS // size**2, _MOST_ROWS)
            if rows < 2:
                for index, _ in members:
                    results[index] = self._alone(*molecules[index])
                continue
            for start in range(0, len(members), rows):
                results |= self._batch(molecules, members[start : start + rows], rows)
        return [results[index] for index in range(len(molecules))]

    def _checked(self, label: str, atoms: Atoms) -> np.ndarray:
        if len(atoms) == 0 or np.any(atoms.numbers < 1):
            raise DataError(
                f"{label}: atomic numbers must be at least 1, of at least one atom, got "
                f"{atoms.numbers.tolist()}"
            )
        wrong = ~np.all(np.isfinite(atoms.positions), axis=1)
        if np.any(wrong):
            atom = int(np.argmax(wrong))
            raise DataError(
                f"{label}: the position of atom {atom + 1} must be finite, got "
                f"{atoms.positions[atom].tolist()}"
            )
        check_declared(label, atoms.info, stated_units(), ["positions"])
        numbers = atoms.numbers.astype(np.int32)
        molecules = Molecules(numbers[None], atoms.positions[None], None, None, None)
        refuse_coincident(molecules, [label])
        return np.asarray(self._potential.species_of(numbers), np.int32)

    def _alone(self, label: str, atoms: Atoms) -> Labelled | DataError:
        # Cells are ignored.
        molecule = Atoms(atoms.numbers, atoms.positions)
        try:
            energy = self._calculator.get_potential_energy(molecule)
            return Labelled(atoms, energy, self._calculator.get_forces(molecule))
        except CalculationFailed as error:
            return DataError(f"{label}: {error}")
        except (ValueError, RuntimeError) as error:
            return _too_large(label, atoms, error)

    def _batch(
        self,
        molecules: Sequence[tuple[str, Atoms]],
        members: Sequence[tuple[int, np.ndarray]],
        rows: int,
    ) -> dict[int, Labelled | DataError]:
        # Always as many rows, or each number of them would be compiled for.
        filled = [members[min(row, len(members) - 1)] for row in range(rows)]
        with np.errstate(over="ignore"):
            from_centre = [centred(molecules[index][1].positions) for index, _ in filled]
            positions = np.stack(from_centre).astype(self._dtype)
        species = np.stack([of_molecule for _, of_molecule in filled])
        try:
            with enabled(self._dtype):
                values, slopes = self._evaluate(positions, species)
                energies, forces = np.asarray(values, float), -np.asarray(slopes, float)
        except (ValueError, RuntimeError) as error:
            return {index: _too_large(*molecules[index], error) for index, _ in members}
        return {
            index: self._labelled(*molecules[index], float(energies[row]), forces[row])
            for row, (index, _) in enumerate(members)
        }

    def _labelled(
        self, label: str, atoms: Atoms, energy: float, forces: np.ndarray
    ) -> Labelled | DataError:
        largest = float(np.max(np.abs(forces)))
        if not np.isfinite(energy) or not np.isfinite(largest):
            return DataError(
                f"{label}: the predicted energy and forces must be finite, got {energy} eV and a "
                f"largest force of {largest} eV/Angstrom (is it unlike the training molecules?)"
            )
        return Labelled(atoms, energy + float(self._potential.reference(atoms.numbers)), forces)


def _too_large(label: str, atoms: Atoms, error: Exception) -> DataError:
    """The error for an exception of JAX, when memory does not suffice, or of the model."""
    reason = " ".join(str(error).split())[:300] or type(error).__name__
    return DataError(f"{label}: {len(atoms)} atoms cannot be evaluated: {reason}")
