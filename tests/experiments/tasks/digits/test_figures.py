"""Pictures of digits: errors against the angle, and feature maps."""

import numpy as np
import pytest
from matplotlib.image import imread

from experiments.tasks.digits.figures import angle_profiles, feature_maps
from tests.helpers.pictures import assert_drawn

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
        angle_profiles(tmp_path / f"{name}.png", drawn)
        assert_drawn(tmp_path / f"{name}.png")
        files.append((tmp_path / f"{name}.png").read_bytes())

    assert files[0] != files[1], "the first of the two is there"


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("order", [1, 4, 16])
def test_feature_maps_are_drawn(tmp_path, order):
    draws = np.random.default_rng(0)
    images, maps = draws.uniform(size=(3, 8, 8)), draws.normal(size=(3, 8, 8, order, 2))
    elements = [f"{360 * turn / order:g}°" for turn in range(order)]

    feature_maps(tmp_path / "a.png", images, maps, (0, 45, 90), elements)
    # A network that does not train may have nothing to show.
    feature_maps(tmp_path / "b.png", images, 0 * maps, (0, 45, 90), elements)

    assert_drawn(tmp_path / "a.png")
    assert_drawn(tmp_path / "b.png")


def test_a_frame_follows_the_map_that_turns(tmp_path):
    """Maps that are all zero differ by their frames alone."""
    images, maps = np.zeros((2, 8, 8)), np.zeros((2, 8, 8, 4, 1))
    elements = [f"{angle}°" for angle in (0, 90, 180, 270)]
    pixels = {}
    for angle in (90, 180, 45):
        path = tmp_path / f"{angle}.png"
        feature_maps(path, images, maps, (0, angle), elements)
        green = imread(path)[..., :3]
        # Only the frames are coloured.
        pixels[angle] = np.nonzero((np.ptp(green, axis=-1) > 0.2).any(axis=0))[0]

    assert pixels[45].max() < pixels[90].max() < pixels[180].max()


@pytest.mark.parametrize(
    ("curves", "message"),
    [
        ([], "^curves"),
        ([("a", ANGLES, np.ones((1, 8)))], r"errors must .*\(1, 8\)"),
        ([("a", ANGLES, np.ones(9))], r"errors must .*\(9,\)"),
        ([("a", ANGLES, np.full((1, 9), np.nan))], "errors must be finite"),
    ],
)
def test_defects_of_the_curves_are_named(tmp_path, curves, message):
    with pytest.raises(ValueError, match=message):
        angle_profiles(tmp_path / "a.png", curves)
    assert not (tmp_path / "a.png").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": np.ones((2, 8))}, r"^images must .*\(2, 8\)"),
        ({"images": np.ones((2, 8, 7))}, "^maps must"),
        ({"maps": MAPS["maps"] * np.inf}, "^maps must be finite"),
        ({"angles": (0.0,)}, r"^angles must .*\(1,\)"),
        ({"elements": ["0°"]}, r"^maps must .*\(2, 8, 8, 1,"),
    ],
)
def test_defects_of_the_maps_are_named(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        feature_maps(tmp_path / "a.png", **MAPS | change)
    assert not (tmp_path / "a.png").exists()
