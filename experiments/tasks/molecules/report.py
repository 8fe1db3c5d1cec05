"""The pictures of a report on molecules: what is predicted against what the data say."""

from pathlib import Path

import numpy as np
from ase.data import chemical_symbols
from jaxtyping import Float, Int

from experiments import figures
from experiments.tasks.molecules.quantities import QUANTITIES
from experiments.training.task import Picture


def draw_report(
    folder: Path,
    name: str,
    reference: Float[np.ndarray, "molecules ..."],
    predicted: Float[np.ndarray, "molecules ..."],
    species: Int[np.ndarray, "molecules atoms"],
    elements: tuple[int, ...],
) -> list[Picture]:
    """Draws predictions against what the data say; forces on an interactive page too.

    Args:
      folder: where the pictures are written to.
      name: what is predicted, of `QUANTITIES`.
      reference: what the data say.
      predicted: the predictions.
      species: 0 for padding, 1 for the first of the elements.
      elements: their atomic numbers.
    """
    unit = QUANTITIES[name].unit
    real = species > 0 if name == "forces" else np.ones(len(reference), bool)
    path = folder / f"{name}.png"
    figures.predicted_against_reference(
        path, reference[real].ravel(), predicted[real].ravel(), name=name, unit=unit
    )
    pictures = [(f"Predicted against reference {name}", path)]
    if name == "forces":
        panel = figures.Panel(
            "forces on atoms",
            f"reference, {unit}",
            f"predicted, {unit}",
            _force_curves(reference, predicted, species, elements),
            parity=True,
        )
        page = folder / "forces.html"
        figures.interactive_curves(page, "Forces", [panel])
        pictures.append(("Forces, interactive", page))
    return pictures


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
