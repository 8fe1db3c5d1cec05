"""Pictures that several tasks draw."""

import matplotlib
import numpy as np
import pytest

from experiments import figures
from experiments.figures.curves import draw_curves
from experiments.figures.plane import spread_apart
from tests.helpers.pictures import assert_drawn, words_in_pictures


@pytest.fixture
def written(monkeypatch):
    """What was written into the picture of a path."""
    return words_in_pictures(monkeypatch).__getitem__


@pytest.mark.parametrize("seeds", [1, 3])
def test_learning_curves_are_drawn(tmp_path, seeds):
    steps, evaluations = np.arange(200), np.arange(0, 200, 50)
    loss = np.exp(-steps / 50)[None] * np.arange(1, seeds + 1)[:, None]
    before = matplotlib.rcParams["font.size"], matplotlib.get_backend()

    figures.learning_curves(tmp_path / "a.png", steps, loss, evaluations, loss[:, ::50])

    assert_drawn(tmp_path / "a.png")
    assert (matplotlib.rcParams["font.size"], matplotlib.get_backend()) == before


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0])
@pytest.mark.parametrize("since", [0, 3])
def test_curves_that_diverge_leave_a_gap(tmp_path, bad, since):
    values = np.linspace(1.0, 0.1, 5)[None].copy()
    values[:, since:] = bad

    figures.learning_curves(tmp_path / "a.png", np.arange(5), values, np.arange(5), values)

    assert_drawn(tmp_path / "a.png")


def test_errors_are_drawn(tmp_path):
    published = {"EGNN": 0.0071, "FA-GNN": 0.0057, "one": 0.0039, "two": 0.0039}
    mean, deviation = np.array([0.08, 0.004]), np.array([0.0, 1e-4])

    figures.error_bars(tmp_path / "a.png", ["linear", "ours"], mean, deviation)
    figures.error_bars(tmp_path / "b.png", ["a", "b"], mean, deviation, published=published)

    assert_drawn(tmp_path / "a.png")
    assert_drawn(tmp_path / "b.png")


def test_parities_say_the_errors(tmp_path, written):
    values = np.linspace(-1, 1, 50)
    energy = figures.Compared("energy", "eV/atom", values, values + 0.002, "meV/atom", 1000.0)

    figures.parity(tmp_path / "a.png", [energy, energy._replace(name="forces", per_unit=1.0)])

    assert_drawn(tmp_path / "a.png")
    assert written(tmp_path / "a.png") >= {
        "energy, RMSE 2 meV/atom",
        "forces, RMSE 0.002 meV/atom",
    }


def birch_murnaghan(volumes, least=11.8, modulus=0.86):
    squeeze = (least / volumes) ** (2 / 3)
    return 9 / 16 * least * modulus * (squeeze - 1) ** 2 * (6 - 4 * squeeze + 4 * (squeeze - 1))


def test_equations_of_state_are_fitted(tmp_path, written):
    volumes = 11.8 * np.linspace(0.9, 1.1, 7)
    energies = birch_murnaghan(volumes)
    path = tmp_path / "a.png"

    figures.equation_of_state(
        path,
        {"EMT": (volumes, energies), "cold": (volumes, -volumes), "few": (volumes[:3],) * 2},
    )

    assert_drawn(path)
    # 0.86 eV/Angstrom^3; what has no least energy has no volume of it.
    assert written(path) >= {"EMT: 11.80 Å³, 138 GPa", "cold", "few"}


def test_bands_of_phonons_are_drawn(tmp_path, written):
    distances = np.array([0.0, 0.5, 1.0, 1.0, 1.5])
    averaged = np.stack([np.sin(distances), 2 * np.sin(distances)], axis=1)
    path = tmp_path / "a.png"

    bands = {"averaged": averaged, "not averaged": averaged - 0.1}
    figures.phonon_bands(path, distances, bands, [(0.0, "Γ"), (1.0, "U|K"), (1.5, "Γ")])

    assert_drawn(path)
    assert written(path) >= {"averaged", "not averaged", "Γ", "U|K"}


def test_labels_are_spread_where_they_are_crowded():
    places = np.array([0.0, 0.1, 0.11, 0.5])

    spread = spread_apart(places, 0.05)

    assert np.all(np.diff(spread) > 0.05 - 1e-12)
    np.testing.assert_allclose(spread[[0, 3]], places[[0, 3]])
    assert np.all(spread_apart(np.array([]), 0.05) == [])


ONE, THREE = np.ones(1), np.arange(3.0)


def panel(*curves):
    return figures.Panel("a", "x", "y", curves)


@pytest.mark.parametrize(
    ("draw", "arrays", "message"),
    [
        (figures.error_bars, (["a"], -ONE, ONE), r"^mean .*\[-1.0\]"),
        (figures.error_bars, (["a"], np.ones(2), ONE), r"^mean must .*\(2,\)"),
        (
            figures.learning_curves,
            (THREE, np.ones((2, 4)), THREE, np.ones((2, 3))),
            r"^training loss .*3 .*\(2, 4\)",
        ),
        (figures.predicted_against_reference, (THREE[:0], THREE[:0]), "^reference must"),
        (figures.predicted_against_reference, (THREE, THREE[:2]), r"^predicted must .*\(2,\)"),
        (figures.parity, ([],), "^quantities must"),
        (
            figures.parity,
            ([figures.Compared("stress", "GPa", THREE, ONE, "GPa", 1.0)],),
            r"^predicted of stress must .*\(1,\)",
        ),
        (figures.equation_of_state, ({},), "^curves must"),
        (figures.equation_of_state, ({"a": (THREE, THREE)},), r"^volumes of a must .*\[0.0, 1.0"),
        (figures.equation_of_state, ({"a": (ONE, THREE)},), r"^energies of a must .*\(3,\)"),
        (figures.phonon_bands, (-THREE, {}, ()), "^distances must .*-2.0"),
        (figures.phonon_bands, (THREE, {}, ()), "^bands must"),
        (figures.phonon_bands, (THREE, {"a": np.ones((2, 3))}, ()), r"^bands of a .*\(2, 3\)"),
        (draw_curves, ([],), "^panels must .* 0"),
        (draw_curves, ([panel()],), r"^panels must .*\[0\]"),
        (draw_curves, ([panel(figures.Curve("c", THREE, ONE))],), r"^y of c must .*\(1,\)"),
        (draw_curves, ([panel(figures.Curve("c", ONE, ONE, "ab"))],), "^words of c must .* 2"),
    ],
)
def test_defects_of_the_arrays_are_named(tmp_path, draw, arrays, message):
    options = (
        {"name": "energy", "unit": "eV"} if draw is figures.predicted_against_reference else {}
    )
    with pytest.raises(ValueError, match=message):
        draw(tmp_path / "a.png", *arrays, **options)
    assert not (tmp_path / "a.png").exists()
