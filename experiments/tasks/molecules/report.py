"""The pictures of a report on molecules: what is predicted against what the data say."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from ase.data import chemical_symbols
from jaxtyping import Float, Int

from experiments import figures
from experiments.tasks.molecules.quantities import QUANTITIES
from experiments.training.task import Picture

_ABOVE = "energies above the references of the atoms"


def draw_report(
    folder: Path,
    name: str,
    reference: Mapping[str, Float[np.ndarray, "molecules ..."]],
    predicted: Mapping[str, Float[np.ndarray, "molecules ..."]],
    species: Int[np.ndarray, "molecules atoms"],
    elements: tuple[int, ...],
) -> list[Picture]:
    """Draws predictions against what the data say; forces on an interactive page too.

    Where energies are learnt, another picture has those of an atom, and forces and stresses.

    Args:
      folder: where the pictures are written to.
      name: the quantity, of `QUANTITIES`, whose error is the metric.
      reference: what the data say, by the names of quantities.
      predicted: the predictions, by the same names.
      species: 0 for padding, 1 for the first of the elements.
      elements: their atomic numbers.
    """
    unit = QUANTITIES[name].unit
    pairs = reference[name], predicted[name]
    real = species > 0 if name == "forces" else np.ones(len(species), bool)
    path = folder / f"{name}.png"
    values = [array[real].ravel() for array in pairs]
    figures.predicted_against_reference(path, *values, name=name, unit=unit)
    pictures = [(f"Predicted against reference {name}", path)]
    if "energy" in predicted:
        path = folder / "parity.png"
        quantities = [_compared(name, reference, predicted, species) for name in predicted]
        figures.parity(path, quantities)
        pictures.append((f"All that is predicted, {_ABOVE}", path))
    if name == "forces":
        panel = figures.Panel(
            "forces on atoms",
            f"reference, {unit}",
            f"predicted, {unit}",
            _force_curves(*pairs, species, elements),
            parity=True,
        )
        page = folder / "forces.html"
        figures.interactive_curves(page, "Forces", [panel])
        pictures.append(("Forces, interactive", page))
    return pictures


def _compared(
    name: str,
    reference: Mapping[str, np.ndarray],
    predicted: Mapping[str, np.ndarray],
    species: Int[np.ndarray, "molecules atoms"],
) -> figures.Compared:
    """A quantity as `MoleculesTask.errors_of_all` measures it, energies of an atom."""
    real = species > 0
    unit, per_unit = QUANTITIES[name].unit, QUANTITIES[name].per_unit
    wanted, found = (arrays[name].astype(np.float64) for arrays in (reference, predicted))
    match name:
        case "energy":
            atoms = real.sum(axis=1)
            label, error_unit = "energy per atom", "meV/atom"
            wanted, found = wanted / atoms, found / atoms
        case "forces":
            label, error_unit = name, "meV/Å"
            wanted, found = wanted[real].ravel(), found[real].ravel()
        case _:
            label, unit, error_unit = name, "GPa", "GPa"
            # What has no volume has none.
            there = np.any(found != 0, axis=(1, 2))
            wanted, found = wanted[there], found[there]
            wanted, found = per_unit * wanted.ravel(), per_unit * found.ravel()
            per_unit = 1.0
    return figures.Compared(label, unit, wanted, found, error_unit, per_unit)


def _force_curves(
    reference: Float[np.ndarray, "molecules atoms 3"],
    predicted: Float[np.ndarray, "molecules atoms 3"],
    species: Int[np.ndarray, "molecules atoms"],
    elements: tuple[int, ...],
) -> list[figures.Curve]:
    """The components of the forces, one curve for all atoms of an element."""
    curves = []
    for index, element in enumerate(elements, start=1):
        chosen = molecules, atoms = np.nonzero(species == index)
        if not len(atoms):
            continue
        words = [
            f"test molecule {molecule}, atom {atom + 1}, {axis}"
            for molecule, atom in zip(molecules, atoms, strict=True)
            for axis in "xyz"
        ]
        components = reference[chosen].ravel(), predicted[chosen].ravel()
        curves.append(figures.Curve(chemical_symbols[element], *components, words))
    return curves
