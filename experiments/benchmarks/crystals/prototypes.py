"""Crystals of high symmetry, and strains that keep their symmetry."""

import itertools
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.data import atomic_numbers, chemical_symbols, covalent_radii, reference_states
from ase.neighborlist import neighbor_list
from ase.spacegroup import crystal
from jaxtyping import Float

from experiments.benchmarks.crystals.untrained import DISTANCE

_ELEMENTS = ("fcc", "bcc", "hcp", "diamond", "sc")
_CUBIC = ("fcc", "bcc", "diamond", "sc")
_HEAVIEST = 83
# With lengths of the same unit in a structure: all are scaled to one distance of neighbours.
_COMPOUNDS = {
    "zincblende": ("SiC", "GaAs", "ZnS", "BN", "InP"),
    "rocksalt": ("NaCl", "MgO", "LiF", "PbS", "TiN"),
    "cesiumchloride": ("CsCl", "NiAl", "CuZn", "AgMg"),
    "fluorite": ("CaF2", "CeO2", "OLi2", "SiMg2"),
    "wurtzite": ("ZnO", "GaN", "AlN", "CdSe"),
}
_CELLS = {"cubic": (90, 90, 90), "hexagonal": (90, 90, 120)}
# Names, elements, places, space group, cell.
_OTHERS = {
    "perovskite": ("SrTiO", [(0, 0, 0), (0.5, 0.5, 0.5), (0.5, 0.5, 0)], 221, (1, 1, "cubic")),
    "antiperovskite": ("NaClO", [(0.5, 0.5, 0), (0, 0, 0), (0.5, 0.5, 0.5)], 221, (1, 1, "cubic")),
    "L1_2": ("CuAu", [(0.5, 0.5, 0), (0, 0, 0)], 221, (1, 1, "cubic")),
    "rhenium trioxide": ("ReO", [(0, 0, 0), (0.5, 0, 0)], 221, (1, 1, "cubic")),
    "L1_0": ("CuAu", [(0, 0, 0), (0.5, 0.5, 0.5)], 123, (1, 1.3, "cubic")),
    "rutile": ("TiO", [(0, 0, 0), (0.305, 0.305, 0)], 136, (1, 0.64, "cubic")),
    "A15": ("SiCr", [(0, 0, 0), (0.25, 0, 0.5)], 223, (1, 1, "cubic")),
    "nickeline": ("NiAs", [(0, 0, 0), (1 / 3, 2 / 3, 0.25)], 194, (1, 1.39, "hexagonal")),
    "cadmium iodide": ("CdI", [(0, 0, 0), (1 / 3, 2 / 3, 0.25)], 164, (1, 1.61, "hexagonal")),
    "aluminium diboride": ("AlB", [(0, 0, 0), (1 / 3, 2 / 3, 0.5)], 191, (1, 1.08, "hexagonal")),
    "tungsten carbide": ("WC", [(0, 0, 0), (1 / 3, 2 / 3, 0.5)], 187, (1, 0.98, "hexagonal")),
    "pyrite": ("FeS", [(0, 0, 0), (0.385, 0.385, 0.385)], 205, (1, 1, "cubic")),
    "cuprite": ("OCu", [(0, 0, 0), (0.25, 0.25, 0.25)], 224, (1, 1, "cubic")),
    "delafossite": ("CuAlO", [(0, 0, 0), (0, 0, 0.5), (0, 0, 0.11)], 166, (1, 5.9, "hexagonal")),
}


def prototypes(most: int | None = None) -> dict[str, Atoms]:
    """Crystals in primitive cells, by names, with neighbours at one distance from each other.

    Args:
      most: of a kind of structure; all by default.
    """
    found: dict[str, Atoms] = {}
    counts: dict[str, int] = {}
    for kind, name, atoms in _all():
        counts[kind] = counts.get(kind, 0) + 1
        if most is None or counts[kind] <= most:
            found[f"{name} {kind}"] = _scaled(atoms)
    return found


def prototypes_of(elements: Sequence[int]) -> dict[str, Atoms]:
    """Crystals of some elements: in each kind of structure, all ways of taking these for its own.

    What is another crystal then, or has a smaller cell, is left out. Atoms have the volume that
    their elements have as they are.

    Args:
      elements: atomic numbers.
    """
    found: dict[str, Atoms] = {}
    seen = set()
    for kind, _, atoms in _all_kinds():
        places, which = np.unique(atoms.numbers, return_inverse=True)
        for chosen in itertools.product(elements, repeat=len(places)):
            other = atoms.copy()
            other.numbers = np.array(chosen)[which]
            formula = other.get_chemical_formula()
            key = space_group(other, 1e-5), formula
            if key in seen or not _is_primitive(other):
                continue
            seen.add(key)
            volume = sum(_volume(number) for number in other.numbers)
            scale = (volume / other.get_volume()) ** (1 / 3)
            other.set_cell(scale * other.cell.array, scale_atoms=True)
            found[f"{formula} {kind}"] = other
    return found


def cubic_elements(elements: Sequence[int]) -> dict[str, Atoms]:
    """The elements that are cubic crystals, as they are, by symbol and lattice.

    Args:
      elements: atomic numbers.
    """
    found = {}
    for number in elements:
        state = reference_states[number]
        if state is not None and state["symmetry"] in _CUBIC and "basis" not in state:
            found[f"{chemical_symbols[number]} {state['symmetry']}"] = bulk(
                chemical_symbols[number]
            )
    return found


def strained(atoms: Atoms, generator: np.random.Generator, size: float = 0.05) -> Atoms:
    """The same crystal with another volume and, where its symmetry leaves it free, another shape.

    Args:
      atoms: the crystal.
      generator: draws the strain.
      size: typical relative change of lengths.
    """
    drawn = size * generator.normal(size=(3, 3))
    rotations = _rotations(atoms)
    # The mean over the point group is the part that keeps it.
    strain = np.mean([turn.T @ (drawn + drawn.T) / 2 @ turn for turn in rotations], axis=0)
    other = atoms.copy()
    other.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
    return other


def space_group(atoms: Atoms, tolerance: float) -> int | None:
    """The number of the space group by spglib, within a distance in Angstrom."""
    found = _dataset(atoms, tolerance)
    return None if found is None else int(found.number)


def _dataset(atoms: Atoms, tolerance: float) -> Any:
    import spglib

    cell = atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers
    with warnings.catch_warnings():
        # Of the way in which it reports that nothing was found.
        warnings.simplefilter("ignore", DeprecationWarning)
        return spglib.get_symmetry_dataset(cell, symprec=tolerance)


def _rotations(atoms: Atoms) -> Float[np.ndarray, "order 3 3"]:
    """The point group of a crystal."""
    cell = atoms.cell.array.T
    rotations = np.asarray(_dataset(atoms, 1e-5).rotations, float)
    return np.einsum("ab,gbc,cd->gad", cell, rotations, np.linalg.inv(cell))


def _all() -> Iterator[tuple[str, str, Atoms]]:
    for symbol in chemical_symbols[1 : _HEAVIEST + 1]:
        state = reference_states[atomic_numbers[symbol]]
        # Manganese is called cubic, with 58 atoms.
        if state is not None and state["symmetry"] in _ELEMENTS and "basis" not in state:
            yield state["symmetry"], symbol, bulk(symbol)
    for kind, names in _COMPOUNDS.items():
        for name in names:
            yield kind, name, bulk(name, kind, a=5.0)
    for kind, (symbols, places, group, (a, c, shape)) in _OTHERS.items():
        atoms = crystal(
            Atoms(symbols).get_chemical_symbols(),
            places,
            spacegroup=group,
            cellpar=[a, a, c, *_CELLS[shape]],
            primitive_cell=True,
        )
        # Without what ASE writes down of it.
        yield kind, symbols, Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True)


def _all_kinds() -> Iterator[tuple[str, str, Atoms]]:
    """One crystal of each kind, the most symmetric ones of an element first."""
    kinds = set()
    for kind, name, atoms in _all():
        if kind not in kinds:
            kinds.add(kind)
            yield kind, name, atoms


def _is_primitive(atoms: Atoms) -> bool:
    import spglib

    cell = atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers
    found = spglib.find_primitive(cell, symprec=1e-5)
    return found is not None and len(found[2]) == len(atoms)


def _volume(number: int) -> float:
    """Of an atom in its element as it is, or in a ball of the size of its bonds, in Angstrom^3."""
    try:
        atoms = bulk(chemical_symbols[number])
    except (ValueError, RuntimeError):
        return float((2 * covalent_radii[number]) ** 3)
    return float(atoms.get_volume() / len(atoms))


def _scaled(atoms: Atoms) -> Atoms:
    """The crystal with its nearest neighbours at the distance of bound atoms."""
    far = 2 * (atoms.get_volume() / len(atoms)) ** (1 / 3)
    nearest = neighbor_list("d", atoms, far).min()
    scaled = atoms.copy()
    scaled.set_cell(atoms.cell.array * (DISTANCE / nearest), scale_atoms=True)
    return scaled
