import matplotlib
import numpy as np
import pytest
from matplotlib.image import imread

from experiments import figures
from experiments.figures.plane import _apart
from experiments.tasks.digits import figures as digits_figures
from experiments.tasks.nbody import figures as nbody_figures
from tests.helpers.pictures import assert_drawn


@pytest.fixture
def systems():
    generator = np.random.default_rng(0)
    vectors = generator.normal(size=(4, 3, 5, 3)).astype(np.float32)
    charge = generator.choice([-1.0, 0.0, 1.0], size=(3, 5))
    return dict(zip(("position", "velocity", "target", "prediction"), vectors, strict=True)) | {
        "charge": charge
    }


def frame(points):
    centred = points - points.mean(axis=0)
    axes = np.linalg.eigh(centred.T @ centred)[1]
    signs = np.array(np.meshgrid(*[[1.0, -1.0]] * 3)).reshape(3, 8).T
    return axes[None] * signs[:, None], np.tile(points.mean(axis=0), (8, 1))


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


def test_trajectories_are_drawn(tmp_path, systems):
    nbody_figures.predicted_trajectories(tmp_path / "a.png", **systems)
    assert_drawn(tmp_path / "a.png")


def test_bodies_at_rest_in_one_place_are_drawn(tmp_path, systems):
    still = {name: np.zeros_like(array[:1]) for name, array in systems.items()}
    nbody_figures.predicted_trajectories(tmp_path / "a.png", **still)
    assert_drawn(tmp_path / "a.png")


def test_frames_are_drawn(tmp_path, systems):
    points = systems["position"][0]
    nbody_figures.frame_axes(
        tmp_path / "a.png", points, *frame(points), charge=systems["charge"][0]
    )
    nbody_figures.frame_axes(
        tmp_path / "b.png", np.zeros((1, 3)), np.eye(3)[None], np.zeros((1, 3))
    )
    assert_drawn(tmp_path / "a.png")
    assert_drawn(tmp_path / "b.png")


def test_errors_are_drawn(tmp_path):
    published = {"EGNN": 0.0071, "FA-GNN": 0.0057, "one": 0.0039, "two": 0.0039}
    mean, deviation = np.array([0.08, 0.004]), np.array([0.0, 1e-4])

    figures.error_bars(tmp_path / "a.png", ["linear", "ours"], mean, deviation)
    figures.error_bars(tmp_path / "b.png", ["a", "b"], mean, deviation, published=published)

    assert_drawn(tmp_path / "a.png")
    assert_drawn(tmp_path / "b.png")


ANGLES = np.arange(0, 361, 45.0)
MAPS = {
    "images": np.ones((2, 8, 8)),
    "maps": np.ones((2, 8, 8, 4, 3)),
    "angles": (0.0, 90.0),
    "elements": ["0°", "90°", "180°", "270°"],
}


def test_errors_against_the_angle_are_drawn(tmp_path):
    errors = np.abs(np.random.default_rng(0).normal(size=(3, 9)))
    # Two runs may have the same name, and a classifier may be always right.
    curves = [
        ("same", ANGLES, 0 * errors),
        ("same", ANGLES, errors[:1]),
        ("all", ANGLES, 30 + errors),
    ]
    more = [(f"run {place}", ANGLES, errors + place) for place in range(12)]

    files = []
    for name, drawn in (("a", curves), ("b", curves[1:]), ("c", more), ("d", [curves[0]])):
        digits_figures.angle_profiles(tmp_path / f"{name}.png", drawn)
        assert_drawn(tmp_path / f"{name}.png")
        files.append((tmp_path / f"{name}.png").read_bytes())

    assert files[0] != files[1], "the first of the two is there"


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("order", [1, 4, 16])
def test_feature_maps_are_drawn(tmp_path, order):
    draws = np.random.default_rng(0)
    images, maps = draws.uniform(size=(3, 8, 8)), draws.normal(size=(3, 8, 8, order, 2))
    elements = [f"{360 * turn / order:g}°" for turn in range(order)]

    digits_figures.feature_maps(tmp_path / "a.png", images, maps, (0, 45, 90), elements)
    # A network that does not train may have nothing to show.
    digits_figures.feature_maps(tmp_path / "b.png", images, 0 * maps, (0, 45, 90), elements)

    assert_drawn(tmp_path / "a.png")
    assert_drawn(tmp_path / "b.png")


def test_a_frame_follows_the_map_that_turns(tmp_path):
    """Maps that are all zero differ by their frames alone."""
    images, maps = np.zeros((2, 8, 8)), np.zeros((2, 8, 8, 4, 1))
    elements = [f"{angle}°" for angle in (0, 90, 180, 270)]
    pixels = {}
    for angle in (90, 180, 45):
        path = tmp_path / f"{angle}.png"
        digits_figures.feature_maps(path, images, maps, (0, angle), elements)
        green = imread(path)[..., :3]
        # Only the frames are coloured.
        pixels[angle] = np.nonzero((np.ptp(green, axis=-1) > 0.2).any(axis=0))[0]

    assert pixels[45].max() < pixels[90].max() < pixels[180].max()


def test_labels_are_spread_where_they_are_crowded():
    places = np.array([0.0, 0.1, 0.11, 0.5])

    spread = _apart(places, 0.05)

    assert np.all(np.diff(spread) > 0.05 - 1e-12)
    np.testing.assert_allclose(spread[[0, 3]], places[[0, 3]])
    assert np.all(_apart(np.array([]), 0.05) == [])


def test_defects_of_the_arrays_are_named(tmp_path, systems):
    path, points = tmp_path / "a.png", systems["position"][0]
    linear, shift = frame(points)
    one = np.ones(1)
    cases = [
        (
            nbody_figures.predicted_trajectories,
            systems | {"target": np.full((3, 5, 3), np.nan)},
            "target",
        ),
        (
            nbody_figures.predicted_trajectories,
            systems | {"charge": np.ones((3, 4))},
            r"charge .*\(3, 4",
        ),
        (
            nbody_figures.predicted_trajectories,
            dict.fromkeys(systems, np.ones((3, 5))),
            "position has",
        ),
        (
            nbody_figures.frame_axes,
            {"points": points, "linear": linear, "shift": shift[:2]},
            "shift has",
        ),
        (
            nbody_figures.frame_axes,
            {"points": points * np.inf, "linear": linear, "shift": shift},
            "points",
        ),
        (figures.error_bars, {"names": ["a"], "mean": -one, "deviation": one}, "positive errors"),
        (figures.error_bars, {"names": ["a"], "mean": np.ones(2), "deviation": one}, "mean has"),
        (
            figures.learning_curves,
            {
                "train_steps": np.arange(3),
                "train_loss": np.ones((2, 4)),
                "valid_steps": np.arange(3),
                "valid_error": np.ones((2, 3)),
            },
            r"training loss has shape \(2, 4\) for \(3,\) steps",
        ),
        (digits_figures.angle_profiles, {"curves": []}, "curves is empty"),
        (
            digits_figures.angle_profiles,
            {"curves": [("a", ANGLES, np.ones((1, 8)))]},
            "errors has shape",
        ),
        (
            digits_figures.angle_profiles,
            {"curves": [("a", ANGLES, np.ones(9))]},
            r"errors .*\(9,\)",
        ),
        (
            digits_figures.angle_profiles,
            {"curves": [("a", ANGLES, np.full((1, 9), np.nan))]},
            "errors has values that are not finite",
        ),
        (digits_figures.feature_maps, MAPS | {"images": np.ones((2, 8))}, "images has shape"),
        (digits_figures.feature_maps, MAPS | {"images": np.ones((2, 8, 7))}, "maps has shape"),
        (digits_figures.feature_maps, MAPS | {"maps": MAPS["maps"] * np.inf}, "maps has values"),
        (
            digits_figures.feature_maps,
            MAPS | {"angles": (0.0,)},
            r"angles .*\(1,\); allowed: \(2,\)",
        ),
        (
            digits_figures.feature_maps,
            MAPS | {"elements": ["0°"]},
            r"maps .*allowed: \(2, 8, 8, 1,",
        ),
    ]
    for draw, arguments, message in cases:
        with pytest.raises(ValueError, match=message):
            draw(path, **arguments)
    assert not path.exists()
