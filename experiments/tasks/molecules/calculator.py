"""A potential in ASE: optimisation, vibrations and dynamics with any energy written in JAX."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any, get_args

import numpy as np
from ase import Atoms
from ase.calculators.calculator import CalculationFailed, Calculator, all_changes
from ase.outputs import Properties
from ase.stress import full_3x3_to_voigt_6_stress
from jaxtyping import Array, PyTree

from experiments.errors import UsageError
from experiments.frame_room import refuse_overflow
from experiments.tasks.molecules.centred import centred
from experiments.tasks.molecules.checks import refuse_unfit
from experiments.tasks.molecules.energies import (
    CompiledEnergy,
    Energy,
    EnergyAlone,
    Evaluation,
    Neighbours,
    PotentialLike,
    Precision,
    RoomOf,
)
from experiments.tasks.molecules.exported import ExportedPotential
from experiments.tasks.molecules.neighbour_list import SKIN, NeighbourList
from experiments.tasks.molecules.networks.neighbour_table import Surroundings
from experiments.tasks.molecules.periodic import refuse_periodic, whole_cell, with_whole_cell
from experiments.tasks.molecules.surrounded_energy import SurroundedEnergy

_CAPACITY = 48
"""Neighbours that an atom has room for at first: about those within 5 Angstrom in a liquid."""


class SymmetrizedCalculator(Calculator):
    r"""An energy in JAX and its derivative, as ASE asks for them.

    Energies are those of the molecule about the mean of its atoms, $E(x - \bar x)$, so that nothing
    is lost to rounding far from the origin, and forces are minus their gradient: they conserve
    energy whatever the function is. It is compiled once for each number of atoms. It can be pickled
    if its functions can, as those of a trained run; what is compiled is not stored.

    An energy that says how far an atom sees may be that of a crystal. Its neighbours are looked up
    outside of JAX, again only when atoms and the cell have moved by about half of the `skin`. Then
    there is a stress too, in eV/Angstrom^3 and the order xx, yy, zz, yz, xz, xy, as ASE has it; of a
    slab or a wire if its cell has a volume.

    Example:
      >>> import jax.numpy as jnp
      >>> from ase import Atoms
      >>> def energy(positions, species):
      ...     return (jnp.linalg.norm(positions[0] - positions[1]) - 0.75) ** 2
      >>> atoms = Atoms("H2", [[0, 0, 0], [0, 0, 1.0]], calculator=SymmetrizedCalculator(energy))
      >>> round(atoms.get_potential_energy(), 6), round(float(atoms.get_forces()[1, 2]), 6)
      (0.0625, -0.5)

    `results` hold what the energy returns beside its value too: of a trained run `energy_spread`,
    the deviation in eV of the energies of the elements of the frame, and for a committee
    `energy_deviation`, that of its networks. ASE knows no such properties, and what takes only
    those it knows, as `SinglePointCalculator`, is given the `implemented_properties` of `results`.

    Args:
      energy: any function of positions `(atoms, 3)` in angstrom and species `(atoms,)`, in eV, that
        JAX can differentiate. It may return a pair of the energy and a dictionary of numbers, which
        must not be called energy, free_energy, forces or stress.
      species_of: atomic numbers to what `energy` takes for species; by default they are the same.
      reference: atomic numbers to an energy that is added in double precision; by default zero.
      neighbours: makes the graph that `energy` takes for its third argument; by default it
        takes two.
      room: tells of what `energy` takes how much weight of a frame had no room, and what it needs;
        by default nothing is asked.
      reach: how far an atom sees in angstrom, of an energy that takes `Surroundings` for its third
        argument, in place of `neighbours`; by default it is that of a whole molecule.
      skin: how much further neighbours are looked up, in angstrom.
      dtype: what positions are handed over in: `"float32"`, or `"float64"` for noiseless forces.

    Raises:
      UsageError: an argument is not of its kind. When atoms are to be calculated: if they are none,
        or periodic and there is no `reach` or no cell with a volume, if one is no element, is not at
        a finite position, or is where another one is, if their info declares another unit of length,
        if `species_of` refuses an element, if `energy` does not return what is said above, or if
        `room` has dropped more than a thousandth.
      CalculationFailed: when atoms are to be calculated, if the energy or a force is not finite.
    """

    implemented_properties = ["energy", "free_energy", "forces", "stress"]

    def __init__(
        self,
        energy: Energy,
        *,
        species_of: Callable[[np.ndarray], np.ndarray] | None = None,
        reference: Callable[[np.ndarray], float] | None = None,
        neighbours: Neighbours | None = None,
        room: RoomOf | None = None,
        reach: float | None = None,
        skin: float = SKIN,
        dtype: Precision = "float32",
    ) -> None:
        for name, function in (
            ("energy", energy),
            ("species_of", species_of),
            ("reference", reference),
            ("neighbours", neighbours),
            ("room", room),
        ):
            if function is not None and not callable(function):
                raise UsageError(f"{name} must be a function, got {function!r}")
        if dtype not in get_args(Precision):
            allowed = " or ".join(map(repr, get_args(Precision)))
            raise UsageError(f"dtype must be {allowed}, got {dtype!r}")
        if reach is not None and neighbours is not None:
            raise UsageError("neighbours must be left out with reach, which is in their place")
        super().__init__()
        self._species_of = species_of
        self._reference = reference
        self._dtype = dtype
        self._capacity = _CAPACITY
        self._reach = reach
        self._list = None if reach is None else NeighbourList(reach, skin)
        self._evaluate: Any = (
            CompiledEnergy(energy, neighbours, room)
            if reach is None
            else SurroundedEnergy(energy, room)
        )

    @classmethod
    def of(
        cls,
        potential: PotentialLike | ExportedPotential,
        params: PyTree[Array] = None,
        *,
        skin: float = SKIN,
        dtype: Precision = "float32",
    ) -> "SymmetrizedCalculator":
        """The calculator of a trained potential.

        Args:
          potential: its energy, elements and references.
          params: its parameters; none of one that was exported, which has them.
          skin: as above.
          dtype: what positions are handed over in.

        Raises:
          UsageError: as above, and if there are parameters for one that was exported.
        """
        if isinstance(potential, ExportedPotential):
            if params is not None:
                raise UsageError(
                    "params must be left out with an exported potential, which has its own, got "
                    f"{type(params).__name__}"
                )
            made = cls(
                potential,
                species_of=potential.species_of,
                reference=potential.reference,
                reach=potential.cutoff,
                skin=skin,
                dtype=dtype,
            )
            # It has its derivatives, and neighbours also where it is of whole molecules.
            made._evaluate, made._reach = potential, potential.reach
            return made
        return cls(
            EnergyAlone(potential, params),
            species_of=potential.species_of,
            reference=potential.reference,
            neighbours=potential.neighbours if potential.reach is None else None,
            room=potential.room,
            reach=potential.reach,
            skin=skin,
            dtype=dtype,
        )

    def check_state(self, atoms: Atoms, tol: float = 1e-15) -> list[str]:
        """What has changed since the last call, of positions, elements, periodicity and cell."""
        # ASE compares everything, four times a step, which can take longer than the energy.
        if self.atoms is None:
            return list(all_changes)
        return [
            name
            for name in ("positions", "numbers", "pbc", "cell")
            if not np.array_equal(getattr(self.atoms, name), getattr(atoms, name))
        ]

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Fills in the energy in eV, the forces in eV an angstrom and, of crystals, the stress."""
        super().calculate(atoms, properties, system_changes)
        assert self.atoms is not None
        label, numbers = _name(self.atoms), self.atoms.numbers
        refuse_periodic(label, self.atoms, self._reach)
        refuse_unfit(label, self.atoms)
        if self._list is None:
            found = self._with_all_neighbours(*self._inputs(self.atoms))
        else:
            found = self._evaluate(*self._surrounded_inputs(label, self.atoms), self._dtype)
        value, slope, others, _, room, stress = found
        refuse_overflow(label, room)
        energy, forces = float(value), -np.asarray(slope, np.float64)
        if not np.isfinite(energy) or not np.all(np.isfinite(forces)):
            raise CalculationFailed(
                f"the energy and the forces of {label} must be finite, got {energy} eV and a "
                f"largest force of {np.max(np.abs(forces))} eV/Angstrom"
            )
        if self._reference is not None:
            energy += float(self._reference(numbers))
        self.results = {"energy": energy, "free_energy": energy, "forces": forces}
        self.results |= {name: float(number) for name, number in others.items()}
        if stress is not None and whole_cell(self.atoms) is not None:
            self.results["stress"] = full_3x3_to_voigt_6_stress(np.asarray(stress, np.float64))

    def export_properties(self) -> Properties:
        """The `implemented_properties`, as `atoms.get_properties` returns them."""
        # ASE refuses other results, and with them those that were asked for.
        names = [name for name in self.implemented_properties if name in self.results]
        return Properties({name: self.results[name] for name in names})

    def memory(self, atoms: Atoms) -> int:
        """The bytes that the energy of these atoms takes, with the room for neighbours as it is."""
        if self._list is None:
            return self._evaluate.memory(*self._inputs(atoms), self._capacity, self._dtype)
        return self._evaluate.memory(*self._surrounded_inputs("atoms", atoms), self._dtype)

    def _inputs(self, atoms: Atoms) -> tuple[np.ndarray, np.ndarray]:
        return self._handed_over(centred(atoms.positions)), self._species(atoms)

    def _surrounded_inputs(
        self, label: str, atoms: Atoms
    ) -> tuple[np.ndarray, np.ndarray, Surroundings]:
        assert self._list is not None
        species = self._species(atoms)
        listed = self._list(atoms.positions, atoms.cell.array, atoms.pbc, label)
        positions, surroundings = with_whole_cell(atoms, *listed)
        surroundings = surroundings._replace(cell=self._handed_over(surroundings.cell))
        return self._handed_over(positions), species, surroundings

    def _species(self, atoms: Atoms) -> np.ndarray:
        numbers = atoms.numbers
        return np.asarray(
            numbers if self._species_of is None else self._species_of(numbers), np.int32
        )

    def _handed_over(self, lengths: Any) -> Any:
        # What is too far away has no finite energy, which is said then.
        with np.errstate(over="ignore", invalid="ignore"):
            return lengths.astype(self._dtype)

    def _with_all_neighbours(self, positions: np.ndarray, species: np.ndarray) -> Evaluation:
        """The energy and its gradient; compiles again if the room for neighbours was too small."""
        while True:
            result = self._evaluate(positions, species, self._capacity, self._dtype)
            needed = int(result.neighbours)
            if needed <= self._capacity:
                return result
            grown = int(1.25 * needed)
            warnings.warn(
                f"an atom has {needed} neighbours and there was room for "
                f"{self._capacity}; compiling again with room for {grown}",
                stacklevel=3,
            )
            self._capacity = grown


def _name(atoms: Atoms) -> str:
    """What atoms are called in errors, whatever is wrong with them."""
    try:
        return atoms.get_chemical_formula() or "atoms"
    except (IndexError, KeyError):  # Of what is no element.
        return "atoms"
