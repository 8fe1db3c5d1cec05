"""Energies, forces and stresses of many structures: those of one size together, large ones alone."""

import functools
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import numpy as np
from ase import Atoms
from ase.calculators.calculator import CalculationFailed
from ase.stress import full_3x3_to_voigt_6_stress
from jax.sharding import Mesh
from jaxtyping import Array, Float, PyTree

from experiments.data.npz import DataError
from experiments.errors import UsageError
from experiments.frame_room import refuse_overflow
from experiments.memory import free_memory
from experiments.tasks.molecules.calculator import SymmetrizedCalculator
from experiments.tasks.molecules.centred import centred
from experiments.tasks.molecules.checks import refuse_unfit
from experiments.tasks.molecules.crystal_batches import Crystal, crystal_of, size_of, together
from experiments.tasks.molecules.energies import PotentialLike, Precision, enabled, value_and_slope
from experiments.tasks.molecules.force_spread import force_deviations
from experiments.tasks.molecules.periodic import refuse_periodic, whole_cell
from experiments.tasks.molecules.spread import ENERGY, FRAME
from experiments.tasks.molecules.strain import derivatives_of
from experiments.training.mesh import DATA, OF_EXAMPLES, on_each_device

PAIRS = 8192
"""Pairs of atoms that are evaluated at once: a bound of the memory that is needed."""
_MOST_ROWS = 64
LARGE = 1000
"""Atoms above which a machine may lack the memory for one molecule."""
EDGES = 4096
"""Edges of crystals, with padding, that are evaluated at once."""
_WAY_OUT = ", and --ignore-cells predicts the energy of the atoms by themselves"

type _Inputs = Crystal | tuple[np.ndarray, np.ndarray]
"""What a potential takes of a crystal, or of a molecule: positions and species."""
type _Member = tuple[int, _Inputs]
"""The number of a structure, and what a potential takes of it."""


class Labelled(NamedTuple):
    """A molecule and what was predicted of it.

    Attributes:
      atoms: the molecule.
      energy: in eV, with the reference energies of its atoms.
      forces: in eV/angstrom.
      stress: in eV/angstrom^3, as xx, yy, zz, yz, xz, xy; `None` of a molecule, and without a volume.
      spreads: of both, by the names that `spread` gives them; without that of forces for a molecule
        that is evaluated alone.
    """

    atoms: Atoms
    energy: float
    forces: Float[np.ndarray, "atoms 3"]
    stress: Float[np.ndarray, " 6"] | None = None
    spreads: Mapping[str, float] = MappingProxyType({})


class Evaluator:
    """Energies and forces of many molecules; what is wrong with one costs no other.

    Args:
      potential: the energy, its elements and references.
      params: its parameters.
      dtype: the precision that energies above their references are computed in.
      mesh: the devices, which share every batch; by default there is one.
    """

    def __init__(
        self,
        potential: PotentialLike,
        params: PyTree[Array],
        dtype: Precision = "float32",
        mesh: Mesh | None = None,
    ) -> None:
        self._potential = potential
        self._dtype = dtype
        value_and_slope_of = value_and_slope(potential.with_spreads(params))
        derivatives = derivatives_of(potential.with_spreads(params))

        def evaluate(positions: Array, species: Array) -> tuple[Any, Any, dict[str, Array]]:
            from_centre = centred(positions)
            room = jax.vmap(potential.room)(from_centre, species)
            values, slopes, spreads = value_and_slope_of(positions, species)
            spreads |= force_deviations(potential, params, from_centre, species)
            return (values, slopes, None), room, spreads

        def evaluate_crystals(*crystals: Any) -> tuple[Any, Any, dict[str, Array]]:
            room = jax.vmap(potential.room)(*crystals)
            values, forces, stresses, spreads = derivatives(*crystals)
            spreads |= force_deviations(potential, params, *crystals)
            return (values, -forces, stresses), room, spreads

        self._devices = 1 if mesh is None else mesh.shape[DATA]
        shared = functools.partial(
            on_each_device, mesh=mesh, split=OF_EXAMPLES, results=OF_EXAMPLES
        )
        self._evaluate = jax.jit(shared(evaluate))
        self._evaluate_crystals = jax.jit(shared(evaluate_crystals))
        # Large molecules have lists of neighbours, and the elements of a frame take turns.
        self._calculator = SymmetrizedCalculator.of(potential, params, skin=0.0, dtype=dtype)

    def __call__(self, molecules: Sequence[tuple[str, Atoms]]) -> list[Labelled | DataError]:
        """Energies and forces.

        Args:
          molecules: what each is called in errors, and the molecule.

        Returns:
          What was predicted for each, or why nothing was.
        """
        results: dict[int, Labelled | DataError] = {}
        sizes: dict[tuple[int, ...], list[_Member]] = {}
        for index, (label, atoms) in enumerate(molecules):
            try:
                size, inputs = self._inputs(label, atoms)
            except Exception as error:
                results[index] = failure(label, atoms, error)
            else:
                sizes.setdefault(size, []).append((index, inputs))
        for size, members in sizes.items():
            rows = min((PAIRS if len(size) == 1 else EDGES) // (size[0] * size[-1]), _MOST_ROWS)
            if rows < 2:
                for index, _ in members:
                    results[index] = self._alone(*molecules[index])
                continue
            rows *= self._devices
            for start in range(0, len(members), rows):
                results |= self._batch(molecules, members[start : start + rows], rows)
        return [results[index] for index in range(len(molecules))]

    def _inputs(self, label: str, atoms: Atoms) -> tuple[tuple[int, ...], "_Inputs"]:
        """The size of the program for a structure, and what the potential takes."""
        reach = self._potential.reach
        refuse_periodic(label, atoms, reach, _WAY_OUT)
        refuse_unfit(label, atoms)
        numbers = self._potential.species_of(atoms.numbers.astype(np.int32))
        species = np.asarray(numbers, np.int32)
        if reach is not None and np.any(atoms.pbc):
            crystal = crystal_of(label, atoms, species, reach)
            return size_of(crystal), crystal
        with np.errstate(over="ignore", invalid="ignore"):
            positions = centred(atoms.positions).astype(self._dtype)
        return (len(atoms),), (positions, species)

    def _alone(self, label: str, atoms: Atoms) -> Labelled | DataError:
        # Without constraints, which forces would be changed by.
        molecule = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
        try:
            if jax.default_backend() == "cpu" and len(atoms) > LARGE:
                _refuse_too_large(self._calculator.memory(molecule))
            energy = self._calculator.get_potential_energy(molecule)
            found = self._calculator.results
            spreads = {name: found[name] for name in (FRAME, ENERGY) if name in found}
            return Labelled(atoms, energy, found["forces"], found.get("stress"), spreads)
        except Exception as error:
            return failure(label, atoms, error)

    def _batch(
        self,
        molecules: Sequence[tuple[str, Atoms]],
        members: Sequence["_Member"],
        rows: int,
    ) -> dict[int, Labelled | DataError]:
        # Always as many rows, or each number of them would be compiled for.
        filled = [members[min(row, len(members) - 1)][1] for row in range(rows)]
        try:
            with enabled(self._dtype):
                crystals = [inputs for inputs in filled if isinstance(inputs, Crystal)]
                if crystals:
                    inputs = together(crystals, self._dtype)
                    found = self._evaluate_crystals(*inputs)
                else:
                    found = self._evaluate(*map(np.stack, zip(*filled, strict=True)))
                (values, slopes, stresses), room, spreads = jax.device_get(found)
            energies, forces = np.asarray(values, float), -np.asarray(slopes, float)
        except (MemoryError, RuntimeError):
            # JAX has no type of its own for want of memory, of which each by itself needs less.
            return {index: self._alone(*molecules[index]) for index, _ in members}
        except Exception as error:
            return {index: failure(*molecules[index], error) for index, _ in members}
        results: dict[int, Labelled | DataError] = {}
        for row, (index, _) in enumerate(members):
            label, atoms = molecules[index]
            try:
                refuse_overflow(label, jax.tree.map(lambda leaf, row=row: leaf[row], room))
                pushes = forces[row, : len(atoms)]
                energy = self._total(label, atoms, energies[row], pushes)
                stress = None
                if stresses is not None and whole_cell(atoms) is not None:
                    stress = full_3x3_to_voigt_6_stress(np.asarray(stresses[row], float))
                of_molecule = {name: float(values[row]) for name, values in spreads.items()}
                results[index] = Labelled(atoms, energy, pushes, stress, of_molecule)
            except Exception as error:
                results[index] = failure(label, atoms, error)
        return results

    def _total(self, label: str, atoms: Atoms, energy: float, forces: np.ndarray) -> float:
        largest = float(np.max(np.abs(forces)))
        if not np.isfinite(energy) or not np.isfinite(largest):
            raise DataError(
                f"{label}: the predicted energy and forces must be finite, got {energy} eV and a "
                f"largest force of {largest} eV/Angstrom (is it unlike the training molecules?)"
            )
        return float(energy) + float(self._potential.reference(atoms.numbers))


def _refuse_too_large(needed: int) -> None:
    # Where memory is lent without being there, the system kills who asks for too much.
    free = free_memory()
    if free is not None and needed > free:
        raise MemoryError(f"{needed / 1e9:.1f} GB are needed and {free / 1e9:.1f} GB are free")


def failure(label: str, atoms: Atoms, error: Exception) -> DataError:
    """What is wrong with a molecule, whatever was raised: of JAX, of the model, for want of memory.

    Args:
      label: what the molecule is called.
      atoms: the molecule.
      error: what was raised.
    """
    reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    if isinstance(error, UsageError | CalculationFailed):
        text = str(error)
        return DataError(text if text.startswith(label) else f"{label}: {text}")
    if isinstance(error, MemoryError):
        return DataError(f"{label}: {len(atoms)} atoms need more memory than there is ({reason})")
    return DataError(f"{label}: {len(atoms)} atoms cannot be evaluated ({reason})")
