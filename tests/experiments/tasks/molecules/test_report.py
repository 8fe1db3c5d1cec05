"""The pictures of a report on molecules and crystals."""

import ase.units
import numpy as np
import pytest

from experiments.tasks.molecules.report import draw_report
from tests.helpers.pictures import assert_drawn, words_in_pictures

SPECIES = np.array([[1, 2, 2], [1, 0, 0]])


def draw(folder, judged, errors):
    """A report on values of a structure of three atoms and one of one, off by the errors."""
    rng = np.random.default_rng(0)
    shapes = {"energy": (2,), "forces": (2, 3, 3), "stress": (2, 3, 3), "dipole": (2, 3)}
    reference = {name: rng.normal(size=shapes[name]) for name in errors}
    predicted = {name: reference[name] + error for name, error in errors.items()}
    return draw_report(folder, judged, reference, predicted, SPECIES, (29, 79))


def test_errors_of_crystals_are_those_of_their_real_atoms(tmp_path, monkeypatch):
    pytest.importorskip("plotly", reason="plotly makes the page of forces")
    words = words_in_pictures(monkeypatch)
    # Half an error in each component of padding, which counts for nothing.
    forces = np.where(SPECIES[..., None] > 0, 0.02, 0.5)
    errors = {"energy": np.array([0.03, 0.01]), "forces": forces, "stress": 0.2 * ase.units.GPa}

    pictures = draw(tmp_path, "forces", errors)

    assert [path.name for _, path in pictures] == ["forces.png", "parity.png", "forces.html"]
    assert_drawn(tmp_path / "parity.png")
    assert words[tmp_path / "parity.png"] >= {
        "energy per atom, RMSE 10 meV/atom",
        "forces, RMSE 20 meV/Å",
        "stress, RMSE 0.2 GPa",
    }


def test_what_has_no_energy_has_one_picture(tmp_path):
    [(title, path)] = draw(tmp_path, "dipole", {"dipole": 0.1})
    assert title == "Predicted against reference dipole"
    assert_drawn(path)
