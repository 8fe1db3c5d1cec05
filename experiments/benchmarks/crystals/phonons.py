"""Phonons by finite differences: branches that symmetry makes degenerate, and acoustic ones."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator
from jaxtyping import Float, Int
from rich.console import Console

from experiments.benchmarks.crystals.prototypes import cubic_elements
from experiments.benchmarks.crystals.rest import at_rest
from experiments.benchmarks.crystals.trained import trained
from experiments.benchmarks.crystals.untrained import Sizes, untrained
from experiments.benchmarks.report import Table
from experiments.errors import UsageError
from experiments.runs.folder import RunFolder

Waves = Mapping[str, tuple[tuple[float, float, float], tuple[int, ...]]]
"""Wave vectors in units of 2 pi over the edge of the cube, and how many branches are equal there."""

_FCC: Waves = {
    "Gamma": ((0, 0, 0), (3,)),
    "Delta": ((0.4, 0, 0), (2, 1)),
    "X": ((1, 0, 0), (2, 1)),
    "Lambda": ((0.2, 0.2, 0.2), (2, 1)),
    "L": ((0.5, 0.5, 0.5), (2, 1)),
}
_DIAMOND: Waves = {
    "Gamma": ((0, 0, 0), (3, 3)),
    "Delta": ((0.4, 0, 0), (2, 2, 1, 1)),
    "X": ((1, 0, 0), (2, 2, 2)),
    "Lambda": ((0.2, 0.2, 0.2), (2, 2, 1, 1)),
    "L": ((0.5, 0.5, 0.5), (2, 2, 1, 1)),
}
_BCC: Waves = {
    "Gamma": ((0, 0, 0), (3,)),
    "Delta": ((0.4, 0, 0), (2, 1)),
    "H": ((1, 0, 0), (3,)),
    "Lambda": ((0.2, 0.2, 0.2), (2, 1)),
    "P": ((0.5, 0.5, 0.5), (3,)),
}
_LATTICES = {"fcc": _FCC, "bcc": _BCC, "diamond": _DIAMOND}
CRYSTALS: dict[str, tuple[Atoms, Waves]] = {
    "Cu fcc": (bulk("Cu", "fcc", a=3.6), _FCC),
    "Si diamond": (bulk("Si", "diamond", a=5.4), _DIAMOND),
}
"""In primitive cells."""
_FORCE = 1e-7
"""In eV/Angstrom: where the relaxation ends that comes before."""
_STEPS = 200


_LEG = 24
_LEGS: tuple[tuple[tuple[float, float, float], tuple[float, float, float]], ...] = (
    ((0, 0, 0), (1, 0, 0)),
    ((1, 1, 0), (0, 0, 0)),
    ((0, 0, 0), (0.5, 0.5, 0.5)),
)
PATH = np.concatenate([np.linspace(*ends, _LEG) for ends in _LEGS])
"""Wave vectors from Gamma to X, on from an equal point to Gamma, and to L; in a lattice that is
centred in the body from Gamma to H, from Gamma to itself, and to P."""
TICKS = ("Γ", "X", "Γ", "L")
TICKS_OF_BODIES = ("Γ", "H|Γ", "Γ", "P")


class Splits(NamedTuple):
    """What symmetry makes equal and is not, in THz.

    Attributes:
      acoustic: the largest frequency of an acoustic branch at Gamma.
      branches: the largest difference of branches that are degenerate, at any wave vector.
      waves: that of frequencies at wave vectors which differ by a rotation.
      highest: frequency of all, to compare with.
      bands: frequencies along `PATH`, to be drawn.
    """

    acoustic: float
    branches: float
    waves: float
    highest: float
    bands: Float[np.ndarray, "points branches"] | None = None


def phonons(
    atoms: Atoms,
    calculator: Calculator,
    cells: int,
    displacement: float,
    waves: Iterable[Sequence[float]],
) -> Float[np.ndarray, "waves branches"]:
    """Frequencies in THz, those of unstable branches negative, by phonopy without symmetries.

    Every atom of the primitive cell is displaced along three axes, both ways, and nothing is
    symmetrized: what symmetry the frequencies have is that of the forces.

    Args:
      atoms: a primitive cell of a cubic lattice, as `ase.build.bulk` has it.
      calculator: of forces.
      cells: cubes along each edge of the supercell.
      displacement: in Angstrom.
      waves: vectors in units of 2 pi over the edge of the cube.
    """
    from phonopy import Phonopy
    from phonopy.structure.atoms import PhonopyAtoms

    corners = _corners(atoms.cell.array)
    symbols, scaled = atoms.get_chemical_symbols(), atoms.get_scaled_positions()
    cell = PhonopyAtoms(symbols=symbols, cell=atoms.cell.array, scaled_positions=scaled)
    model = Phonopy(cell, cells * corners, primitive_matrix="P", is_symmetry=False)
    model.generate_displacements(distance=displacement, is_plusminus=True, is_diagonal=False)
    forces = []
    for moved in model.supercells_with_displacements or ():
        supercell = Atoms(moved.symbols, cell=moved.cell, pbc=True)
        supercell.set_scaled_positions(moved.scaled_positions)
        forces.append(calculator.get_forces(supercell))
    model.forces = forces
    model.produce_force_constants(show_drift=False)
    cube = (corners @ atoms.cell.array).T
    primitive = [np.asarray(wave) @ np.linalg.inv(cube) @ atoms.cell.array.T for wave in waves]
    model.run_qpoints(np.asarray(primitive))
    found = model.qpoints
    assert found is not None
    return np.asarray(found.frequencies)


def splits(
    atoms: Atoms, waves: Waves, calculator: Calculator, cells: int, displacement: float
) -> Splits:
    """How far frequencies are from what symmetry says of them.

    Args:
      atoms: a primitive cell, which is relaxed first.
      waves: by name.
      calculator: of energies, forces and stresses.
      cells: cubes along each edge of the supercell.
      displacement: in Angstrom.
    """
    rest, _, _ = at_rest(atoms, calculator, _FORCE, _STEPS)
    stars = {name: _star(wave) for name, (wave, _) in waves.items()}
    wanted = itertools.chain(*stars.values(), PATH.tolist())
    found = phonons(rest, calculator, cells, displacement, wanted)
    found, bands = found[: -len(PATH)], found[-len(PATH) :]
    branches, others, start = [], [], 0
    for name, star in stars.items():
        rows = found[start : start + len(star)]
        start += len(star)
        branches += [_split(row, waves[name][1]) for row in rows]
        others.append(float(np.max(np.ptp(rows, axis=0))))
    gamma = found[list(stars).index("Gamma")]
    return Splits(
        acoustic=float(np.sort(np.abs(gamma))[2]),
        branches=max(branches),
        waves=max(others),
        highest=float(found.max()),
        bands=bands,
    )


def measure(
    console: Console,
    run: RunFolder | None,
    sizes: Sizes,
    seed: int,
    cells: int,
    displacement: float,
) -> dict[str, dict[str, Splits]]:
    """The splits of all crystals with networks over local frames, and without, or of a run.

    Args:
      console: where progress is shown.
      run: the folder of a run on crystals, for those of its elements that are cubic.
      sizes: of the untrained networks.
      seed: of their weights.
      cells: cubes along each edge of the supercell.
      displacement: in Angstrom.

    Raises:
      UsageError: the run has no potential of crystals, or none of its elements is such.
    """
    calculators: dict[str, Calculator] = {}
    crystals = CRYSTALS
    if run is None:
        calculators = {frame: untrained(frame, sizes, seed) for frame in ("local", "none")}
    else:
        known, elements, frame = trained(run)
        calculators[frame] = known
        crystals = {
            name: (atoms, _LATTICES[name.split()[1]])
            for name, atoms in cubic_elements(elements).items()
            if name.split()[1] in _LATTICES
        }
        if not crystals:
            raise UsageError(
                f"{run.path}: must be a potential of an element that is {', '.join(_LATTICES)}, got "
                f"one of the elements {list(elements)}"
            )
    found: dict[str, dict[str, Splits]] = {}
    for frame, calculator in calculators.items():
        for name, (atoms, waves) in crystals.items():
            with console.status(f"phonons of {name}, frame {frame}"):
                found.setdefault(name, {})[frame] = splits(
                    atoms, waves, calculator, cells, displacement
                )
    return found


def table_of(found: Mapping[str, Mapping[str, Splits]]) -> Table:
    """All splits in THz."""
    names = ["phonons", "frame", "acoustic at Gamma", "degenerate branches", "equivalent waves"]
    rows = [
        [crystal, frame, *(f"{value:.1e}" for value in one[:3]), f"{one.highest:.2f}"]
        for crystal, frames in found.items()
        for frame, one in frames.items()
    ]
    return Table([*names, "highest frequency"], rows)


def numbers_of(found: Mapping[str, Mapping[str, Splits]]) -> dict[str, Any]:
    """All that was found, in the types of JSON."""
    return {
        crystal: {frame: one._replace(bands=None)._asdict() for frame, one in frames.items()}
        for crystal, frames in found.items()
    }


def _corners(cell: Float[np.ndarray, "3 3"]) -> Int[np.ndarray, "3 3"]:
    """The edges of the cube in vectors of a primitive cell of a lattice that is about cubic."""
    volume = abs(np.linalg.det(cell))
    for points in (4, 2, 1):
        corners = (points * volume) ** (1 / 3) * np.linalg.inv(cell)
        if np.allclose(corners, np.round(corners), atol=0.1):
            return np.round(corners).astype(int)
    raise ValueError(f"cell must be a primitive one of a cubic lattice, got {cell.tolist()}")


def _star(wave: Sequence[float]) -> list[tuple[float, ...]]:
    """A wave vector and what rotations of the cube make of it."""
    signs = itertools.product((1, -1), repeat=3)
    turned = {
        tuple(sign * part for sign, part in zip(choice, places, strict=True))
        for choice in signs
        for places in itertools.permutations(wave)
    }
    return sorted(turned)


def _split(frequencies: Float[np.ndarray, " branches"], degeneracies: Sequence[int]) -> float:
    """The largest split of degenerate branches, in the order of degeneracies that splits least."""
    ordered = np.sort(frequencies)
    least = np.inf
    for order in set(itertools.permutations(degeneracies)):
        ends = np.cumsum(order)
        parts = np.split(ordered, ends[:-1])
        least = min(least, max(float(np.ptp(part)) for part in parts))
    return least
