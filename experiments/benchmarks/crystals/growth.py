"""Time and memory of energy, forces and stress against the number of atoms."""

import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from ase.build import bulk
from rich.console import Console

from experiments.benchmarks.crystals.untrained import Sizes, untrained
from experiments.benchmarks.report import Table
from experiments.tasks.molecules.energies import Precision

_CUBE = 4
"""Atoms in a cube of fcc."""
_RATTLE = 0.15
"""Standard deviation of the coordinates in Angstrom: copper at some 1000 K."""
_ELEMENTS = 128
"""That each atom has room for."""


class Cost(NamedTuple):
    """What one size of crystal costs.

    Attributes:
      seconds: of energy, forces and stress, with the check of the neighbour list, once compiled.
      listing: seconds of a new neighbour list.
      memory: bytes of the compiled program, with its inputs and outputs.
    """

    seconds: float
    listing: float
    memory: int


def measure(
    console: Console,
    atoms: Sequence[int],
    sizes: Sizes,
    seed: int = 0,
    dtype: Precision = "float64",
) -> dict[int, Cost]:
    """Costs of rattled copper, by the number of atoms.

    Args:
      console: where progress is told.
      atoms: about how many; those of whole cubes are taken.
      sizes: of the network.
      seed: of its weights and of the rattling.
      dtype: in which it computes.
    """
    found = {}
    for wanted in atoms:
        edge = max(1, round((wanted / _CUBE) ** (1 / 3)))
        crystal = bulk("Cu", "fcc", 3.61, cubic=True) * (edge, edge, edge)
        crystal.rattle(_RATTLE, seed=seed)
        calculator = untrained("local", sizes, seed, max_elements=_ELEMENTS, dtype=dtype)
        crystal.calc = calculator
        crystal.get_stress()
        memory = calculator.memory(crystal)
        # A little, which the list allows for; then as much as makes a new one.
        seconds = []
        for step in (1e-3, 1.0):
            crystal.positions += (
                step * np.random.default_rng(seed).normal(size=(len(crystal), 3)) / 8
            )
            start = time.perf_counter()
            crystal.get_stress()
            seconds.append(time.perf_counter() - start)
        found[len(crystal)] = Cost(seconds[0], max(seconds[1] - seconds[0], 0.0), memory)
        console.print(f"{len(crystal)} atoms: {seconds[0]:.3g} s, {memory / 1e6:.4g} MB")
    return found


def table_of(found: Mapping[int, Cost]) -> Table:
    """The costs, and how they grow from the smallest to the largest."""
    rows = [
        [
            str(atoms),
            f"{cost.seconds:.3g}",
            f"{1e6 * cost.seconds / atoms:.3g}",
            f"{cost.memory / 1e6:.4g}",
            f"{cost.memory / atoms:.4g}",
        ]
        for atoms, cost in found.items()
    ]
    names = ["atoms", "seconds", "us an atom", "MB", "bytes an atom"]
    return Table(names, rows)


def numbers_of(found: Mapping[int, Cost]) -> dict[str, Any]:
    """The costs by the number of atoms, and the exponents of their growth."""
    numbers: dict[str, Any] = {str(atoms): cost._asdict() for atoms, cost in found.items()}
    if len(found) > 1:
        atoms = np.log(list(found))
        for name in ("seconds", "memory"):
            values = np.log([getattr(cost, name) for cost in found.values()])
            numbers[f"exponent_{name}"] = float(np.polyfit(atoms, values, 1)[0])
    return numbers
