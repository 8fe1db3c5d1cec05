"""Relaxation of many crystals at once with their cells; what is wrong with one costs no other."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from ase import Atoms
from jaxtyping import Array, Float, PyTree

from experiments.data.npz import DataError
from experiments.errors import UsageError
from experiments.frame_room import refuse_overflow
from experiments.tasks.molecules.batches import EDGES, failure
from experiments.tasks.molecules.cell_descent import (
    Limits,
    Listed,
    Relaxing,
    at_start_of,
    behind_step,
    goes_on,
    holds,
    relaxed_while_lists_hold,
    sizes,
)
from experiments.tasks.molecules.checks import refuse_unfit
from experiments.tasks.molecules.crystal_batches import (
    Crystal,
    crystal_of,
    size_above,
    size_of,
    together,
)
from experiments.tasks.molecules.data.neighbour_table import neighbour_table
from experiments.tasks.molecules.energies import PotentialLike, Precision, enabled
from experiments.tasks.molecules.neighbour_list import SKIN
from experiments.tasks.molecules.networks.neighbour_table import Surroundings
from experiments.tasks.molecules.strain import slopes_of

_MOST_ROWS = 64
_SPARE = 1.1
"""Slots in proportion to those that are needed at the start."""
_LEAST_VOLUME = 0.2
"""Of that at the start: before a cell that falls together has millions of neighbours."""


class RelaxedCrystal(NamedTuple):
    """A crystal where it came to rest.

    Attributes:
      atoms: it, with positions and cell there, and without a calculator.
      energy: in eV, with the reference energies of its atoms.
      max_force: the largest force on an atom in eV/Angstrom or, if that is larger, what a strain
        changes the energy of an atom by, in eV.
      steps: how many were taken.
      converged: whether `max_force` fell below the tolerance. Where it did not, the steps were used
        up, or the next one led to where there is no finite energy, and was not taken.
    """

    atoms: Atoms
    energy: float
    max_force: float
    steps: int
    converged: bool


class _End(NamedTuple):
    """Crystals at the end: as they moved, their largest forces, and as a potential takes them."""

    relaxing: Relaxing
    forces: Float[np.ndarray, " structures"]
    crystals: Crystal


class CrystalRelaxation:
    """Relaxes crystals by L-BFGS, those of one size together, each until it has converged.

    Positions and cell move together. The cell takes symmetric strains, so that it does not turn; of
    slabs and wires it changes along the directions that repeat alone, and of molecules not at all.
    Neighbours are looked up outside of JAX with a skin, again as soon as the list of a crystal may
    miss one; if there are more than there was room for, there is another program for more.

    Args:
      potential: an energy that sees neighbours within its `reach`.
      params: its parameters.
      cell: whether cells change.
      force_tolerance: in eV/Angstrom, for the force on each atom; and in eV, for what a strain
        changes the energy of an atom by. As of ASE's `FrechetCellFilter`.
      max_steps: the most steps of a crystal.
      max_step: the farthest that an atom moves in a step beside the strain, in Angstrom.
      skin: how much further than the reach neighbours are looked up, in Angstrom.
      dtype: the precision that energies above their references are computed in.

    Raises:
      UsageError: the potential is one of whole molecules, or a number is not as it must be.
    """

    def __init__(
        self,
        potential: PotentialLike,
        params: PyTree[Array],
        *,
        cell: bool = True,
        force_tolerance: float = 0.01,
        max_steps: int = 500,
        max_step: float = 0.2,
        skin: float = SKIN,
        dtype: Precision = "float32",
    ) -> None:
        numbers = {"force_tolerance": force_tolerance, "max_step": max_step, "skin": skin}
        for name, value in numbers.items():
            if not 0 < value < np.inf:
                raise UsageError(f"{name} must be a positive number, got {value!r}")
        if max_steps < 0:
            raise UsageError(f"max_steps must be at least 0, got {max_steps!r}")
        if potential.reach is None:
            raise UsageError(
                "potential must be one of crystals, which says how far an atom sees, got one of "
                "whole molecules (those of crystals are trained with model.frame=local)"
            )
        self._potential = potential
        self._listed_within = potential.reach + skin
        self._tolerance = force_tolerance
        self._cell = cell
        self._limits = Limits(force_tolerance, max_steps, max_step, potential.reach, skin)
        self._dtype: Precision = dtype
        slopes = slopes_of(potential.with_spreads(params))

        @jax.jit
        def run(relaxing: Relaxing, listed: Listed, limits: Limits) -> tuple[Relaxing, Any]:
            end = relaxed_while_lists_hold(slopes, relaxing, listed, limits)
            there = behind_step(end, listed)
            stale = goes_on(end, listed, limits) & ~holds(there, listed, limits)
            return end, (stale, there, sizes(end.descent.gradient, listed))

        self._run = run
        self._room = jax.jit(jax.vmap(potential.room))

    def __call__(self, structures: Sequence[tuple[str, Atoms]]) -> list[RelaxedCrystal | DataError]:
        """Where crystals come to rest.

        Args:
          structures: what each is called in errors, and the structure.

        Returns:
          Each where it came to rest, or why it did not: what has no energy, as the calculator
          refuses it, constraints, or a cell that falls together.
        """
        results: dict[int, RelaxedCrystal | DataError] = {}
        groups: dict[tuple[int, int], list[tuple[int, Crystal]]] = {}
        for index, (label, atoms) in enumerate(structures):
            try:
                crystal = self._crystal(label, atoms)
            except Exception as error:
                results[index] = failure(label, atoms, error)
            else:
                groups.setdefault(size_of(crystal), []).append((index, crystal))
        for size, members in groups.items():
            most = max(1, min(EDGES // (size[0] * size[1]), _MOST_ROWS))
            # As few batches as there can be, all of one number of rows.
            rows = -(-len(members) // -(-len(members) // most))
            for start in range(0, len(members), rows):
                chosen = members[start : start + rows]
                asked = [(structures[index], crystal) for index, crystal in chosen]
                try:
                    found = self._batch(asked, rows)
                except Exception as error:
                    found = [failure(*structures[index], error) for index, _ in chosen]
                results |= dict(zip((index for index, _ in chosen), found, strict=True))
        return [results[index] for index in range(len(structures))]

    def _crystal(self, label: str, atoms: Atoms) -> Crystal:
        refuse_unfit(label, atoms)
        if atoms.constraints:
            kinds = ", ".join(sorted({type(one).__name__ for one in atoms.constraints}))
            raise DataError(f"{label}: atoms.constraints must be none, got {kinds}")
        numbers = self._potential.species_of(atoms.numbers.astype(np.int32))
        species = np.asarray(numbers, np.int32)
        return crystal_of(label, atoms, species, self._listed_within)

    def _batch(
        self, asked: Sequence[tuple[tuple[str, Atoms], Crystal]], rows: int
    ) -> list[RelaxedCrystal | DataError]:
        filled = [asked[min(row, len(asked) - 1)] for row in range(rows)]
        with enabled(self._dtype):
            end, errors = self._at_rest([one for one, _ in filled], [one for _, one in filled])
            room = jax.device_get(self._room(*end.crystals))
        found: list[RelaxedCrystal | DataError] = []
        for row, ((label, atoms), crystal) in enumerate(asked):
            try:
                if row in errors:
                    raise errors[row]
                refuse_overflow(label, jax.tree.map(lambda leaf, row=row: leaf[row], room))
                found.append(self._relaxed(label, atoms, crystal, end, row))
            except Exception as error:
                found.append(failure(label, atoms, error))
        return found

    def _at_rest(
        self, named: Sequence[tuple[str, Atoms]], crystals: list[Crystal]
    ) -> tuple[_End, dict[int, DataError]]:
        """Where crystals of about one size come to rest, and what went wrong with some on the way."""
        errors: dict[int, DataError] = {}
        deformations = np.tile(np.eye(3), (len(named), 1, 1))
        free = np.stack([self._free(atoms) for _, atoms in named]).astype(self._dtype)
        # Some more than at the start, as to compile again takes longer than some padding.
        slots = max(one.surroundings.senders.shape[1] for one in crystals)
        batch = together(crystals, self._dtype, (0, size_above(int(np.ceil(_SPARE * slots)))))
        relaxing = at_start_of(batch.positions)
        while True:
            undone = np.linalg.inv(deformations).astype(self._dtype)
            arrays: Any = (batch.species, batch.surroundings, batch.positions, undone, free)
            listed = Listed(*arrays)
            relaxing, (stale, there, forces) = self._run(relaxing, listed, self._limits)
            stale, there = jax.device_get((stale, there))
            if not stale.any():
                break
            stopped = np.zeros(len(named), bool)
            for row in np.flatnonzero(stale).tolist():
                label, atoms = named[row]
                deformations[row] = there.deformation[row]
                places = there.positions[row, : len(atoms)], deformations[row]
                try:
                    crystals[row] = self._listed_again(label, atoms, crystals[row], *places)
                except Exception as error:
                    errors[row] = failure(label, atoms, error)
                    stopped[row] = True
            descent = relaxing.descent._replace(failed=relaxing.descent.failed | stopped)
            relaxing = relaxing._replace(descent=descent)
            _, count, slots = batch.surroundings.senders.shape
            batch = together(crystals, self._dtype, (count, slots))
        end, forces = jax.device_get((relaxing, forces))
        cell = batch.surroundings.cell @ end.places.deformation
        surroundings = batch.surroundings._replace(cell=cell)
        return _End(end, forces, Crystal(end.places.positions, batch.species, surroundings)), errors

    def _free(self, atoms: Atoms) -> Float[np.ndarray, "3 3"]:
        """The projection on the directions that the cell may change in."""
        vectors = atoms.cell.array[atoms.pbc]
        return np.linalg.pinv(vectors) @ vectors if self._cell else np.zeros((3, 3))

    def _listed_again(
        self,
        label: str,
        atoms: Atoms,
        crystal: Crystal,
        positions: Float[np.ndarray, "atoms 3"],
        deformation: Float[np.ndarray, "3 3"],
    ) -> Crystal:
        volume = float(np.linalg.det(deformation))
        if not volume > _LEAST_VOLUME:
            raise DataError(
                f"{label}: the cell must keep {_LEAST_VOLUME:g} of its volume, got {volume:.3g}: the "
                "potential has no minimum there"
            )
        start = np.asarray(crystal.surroundings.cell)
        where = positions.astype(np.float64), start @ deformation, atoms.pbc
        found: Any = (*neighbour_table(*where, self._listed_within, label=label), start)
        return Crystal(positions, crystal.species, Surroundings(*found))

    def _relaxed(
        self, label: str, atoms: Atoms, start: Crystal, end: _End, row: int
    ) -> RelaxedCrystal:
        descent, places = end.relaxing
        energy, force = float(descent.energy[row]), float(end.forces[row])
        if not np.isfinite(energy) or not np.isfinite(force):
            raise DataError(
                f"{label}: the energy and the forces at the start must be finite, got {energy} eV "
                f"and a largest force of {force} eV/Angstrom"
            )
        deformation = places.deformation[row].astype(np.float64)
        relaxed = atoms.copy()
        # Vectors that nothing repeats along are those of the file.
        along = atoms.pbc[:, None]
        relaxed.set_cell(np.where(along, atoms.cell.array @ deformation, atoms.cell.array))
        # As images of the atoms that they were, not of those in one cell about their mean.
        relaxed.positions = places.positions[row, : len(atoms)]
        relaxed.positions += (atoms.positions - start.positions) @ deformation
        return RelaxedCrystal(
            relaxed,
            energy + float(self._potential.reference(atoms.numbers)),
            force,
            int(descent.steps[row]),
            force <= self._tolerance,
        )
