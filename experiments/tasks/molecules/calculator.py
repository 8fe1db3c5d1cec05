"""A potential in ASE: optimisation, vibrations and dynamics with any energy written in JAX."""

import contextlib
import functools
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol, get_args

import jax
import jax.numpy as jnp
import numpy as np
from ase import Atoms
from ase.calculators.calculator import CalculationFailed, Calculator, all_changes
from jaxtyping import Array, Float, Int, PyTree

from experiments.errors import UsageError
from experiments.tasks.molecules.centred import centred

Energy = Callable[..., Float[Array, ""]]
"""Potential energy in eV of positions in angstrom and of species, which are integers; and, where
there are neighbour lists, of a graph."""

Neighbours = Callable[..., tuple[Any, Int[Array, ""]]]
"""`(positions, species, capacity=...)` to a graph and the capacity that it takes to be whole."""

Precision = Literal["float32", "float64"]

_CAPACITY = 48
"""Neighbours that an atom has room for at first: about those within 5 Angstrom in a liquid."""


class PotentialLike(Protocol):
    """What the calculator and the command `predict` need of a potential."""

    def energy(self, params: PyTree[Array]) -> Energy:
        """The energy above the reference, as a function of positions and species."""

    def alone(self, params: PyTree[Array]) -> Energy:
        """The same energy, for one molecule at a time; it may be differentiable only once."""

    def species_of(self, numbers: Int[np.ndarray, " atoms"]) -> Int[np.ndarray, " atoms"]:
        """The species of atomic numbers; a `UsageError` for an element it was not trained on."""

    def reference(self, numbers: Int[np.ndarray, " atoms"]) -> float:
        """The energy in eV of these atoms by themselves."""

    def determined(self, numbers: Int[np.ndarray, " atoms"]) -> bool:
        """Whether the training molecules determine that energy."""

    def neighbours(self, positions: Array, species: Array, *, capacity: int) -> tuple[Any, Array]:
        """The graph that the energy takes, and the capacity that it takes to be whole."""


class SymmetrizedCalculator(Calculator):
    r"""An energy in JAX and its derivative, as ASE asks for them.

    Energies are those of the molecule about the mean of its atoms, $E(x - \bar x)$, so that nothing
    is lost to rounding far from the origin, and forces are minus their gradient: they conserve
    energy whatever the function is. It is compiled once for each number of atoms.

    Example:
      >>> import jax.numpy as jnp
      >>> from ase import Atoms
      >>> def energy(positions, species):
      ...     return (jnp.linalg.norm(positions[0] - positions[1]) - 0.75) ** 2
      >>> atoms = Atoms("H2", [[0, 0, 0], [0, 0, 1.0]], calculator=SymmetrizedCalculator(energy))
      >>> round(atoms.get_potential_energy(), 6), round(float(atoms.get_forces()[1, 2]), 6)
      (0.0625, -0.5)

    Args:
      energy: any function of positions `(atoms, 3)` in angstrom and species `(atoms,)`, in eV, that
        JAX can differentiate.
      species_of: atomic numbers to what `energy` takes for species; by default they are the same.
      reference: atomic numbers to an energy that is added in double precision; by default zero.
      neighbours: makes the graph that `energy` takes for its third argument; by default it
        takes two.
      dtype: what positions are handed over in: `"float32"`, or `"float64"` for noiseless forces.

    Raises:
      UsageError: an argument is not of its kind. When atoms are to be calculated: if they are none,
        are periodic, have positions that are not finite, or elements that `species_of` refuses.
      CalculationFailed: when atoms are to be calculated, if the energy or a force is not finite.
    """

    implemented_properties = ["energy", "free_energy", "forces"]

    def __init__(
        self,
        energy: Energy,
        *,
        species_of: Callable[[np.ndarray], np.ndarray] | None = None,
        reference: Callable[[np.ndarray], float] | None = None,
        neighbours: Neighbours | None = None,
        dtype: Precision = "float32",
    ) -> None:
        for name, function in (
            ("energy", energy),
            ("species_of", species_of),
            ("reference", reference),
            ("neighbours", neighbours),
        ):
            if function is not None and not callable(function):
                raise UsageError(f"{name} must be a function, got {function!r}")
        if dtype not in get_args(Precision):
            allowed = " or ".join(map(repr, get_args(Precision)))
            raise UsageError(f"dtype must be {allowed}, got {dtype!r}")
        super().__init__()
        self._species_of = species_of
        self._reference = reference
        self._dtype = dtype
        self._capacity = _CAPACITY
        value_and_slope_of = value_and_slope(energy)

        @functools.partial(jax.jit, static_argnames="capacity")
        def evaluate(positions: Array, species: Array, capacity: int) -> Any:
            if neighbours is None:
                return *value_and_slope_of(positions, species), 0
            graph, needed = neighbours(positions, species, capacity=capacity)
            return *value_and_slope_of(positions, species, graph), needed

        self._evaluate = evaluate

    @classmethod
    def of(
        cls, potential: PotentialLike, params: PyTree[Array], *, dtype: Precision = "float32"
    ) -> "SymmetrizedCalculator":
        """The calculator of a trained potential.

        Args:
          potential: its energy, elements and references.
          params: its parameters.
          dtype: what positions are handed over in.
        """
        return cls(
            potential.alone(params),
            species_of=potential.species_of,
            reference=potential.reference,
            neighbours=potential.neighbours,
            dtype=dtype,
        )

    def check_state(self, atoms: Atoms, tol: float = 1e-15) -> list[str]:
        """What has changed since the last call, of positions, elements and periodicity."""
        # ASE compares everything, four times a step, which can take longer than the energy.
        if self.atoms is None:
            return list(all_changes)
        return [
            name
            for name in ("positions", "numbers", "pbc")
            if not np.array_equal(getattr(self.atoms, name), getattr(atoms, name))
        ]

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Fills in the energy in eV and the forces in eV an angstrom."""
        super().calculate(atoms, properties, system_changes)
        assert self.atoms is not None
        positions, numbers = self.atoms.positions, self.atoms.numbers
        _check(self.atoms)
        species = numbers if self._species_of is None else self._species_of(numbers)
        value, slope = self._with_all_neighbours(
            centred(positions).astype(self._dtype), np.asarray(species, np.int32)
        )
        energy, forces = float(value), -np.asarray(slope, np.float64)
        if not np.isfinite(energy) or not np.all(np.isfinite(forces)):
            raise CalculationFailed(
                f"the energy and the forces of {self.atoms.symbols} must be finite, got {energy} "
                f"eV and a largest force of {np.max(np.abs(forces))} eV/Angstrom"
            )
        if self._reference is not None:
            energy += float(self._reference(numbers))
        self.results = {"energy": energy, "free_energy": energy, "forces": forces}

    def _with_all_neighbours(
        self, positions: np.ndarray, species: np.ndarray
    ) -> tuple[Array, Array]:
        """The energy and its gradient; compiles again if the room for neighbours was too small."""
        while True:
            with enabled(self._dtype):
                value, slope, needed = self._evaluate(positions, species, capacity=self._capacity)
            if needed <= self._capacity:
                return value, slope
            grown = int(1.25 * int(needed))
            warnings.warn(
                f"an atom has {needed} neighbours and there was room for {self._capacity}; "
                f"compiling again with room for {grown}",
                stacklevel=3,
            )
            self._capacity = grown


def enabled(dtype: Precision) -> contextlib.AbstractContextManager[None]:
    """A context in which JAX computes in the given precision: double is off by default."""
    return jax.enable_x64(True) if dtype == "float64" else contextlib.nullcontext()


def value_and_slope(
    energy: Energy,
) -> Callable[..., tuple[Float[Array, ""], Float[Array, "atoms 3"]]]:
    """The energy about the mean of the atoms, and its gradient.

    Args:
      energy: a function of positions and whatever else.

    Returns:
      A function of the same, for one molecule without padding; it raises a `UsageError` if what is
      returned is not one number.
    """

    def about_mean(positions: Float[Array, "atoms 3"], *rest: Any) -> Float[Array, ""]:
        value = energy(centred(positions), *rest)
        if jnp.shape(value) != ():
            raise UsageError(
                "energy must return one number, as a potential that was trained on energies does, "
                f"got shape {jnp.shape(value)}"
            )
        return value

    return jax.value_and_grad(about_mean)


def _check(atoms: Atoms) -> None:
    if len(atoms) == 0:
        raise UsageError("atoms must be at least one atom, got none")
    if np.any(atoms.pbc):
        raise UsageError(
            "atoms.pbc must be False, as for a molecule, got periodic atoms, pbc = "
            f"{atoms.pbc.tolist()}"
        )
    wrong = ~np.all(np.isfinite(atoms.positions), axis=1)
    if np.any(wrong):
        atom = int(np.argmax(wrong))
        raise UsageError(
            f"the position of atom {atom + 1} of {atoms.symbols} must be finite, got "
            f"{atoms.positions[atom].tolist()} (if dynamics ended so, shorten the time step)"
        )
