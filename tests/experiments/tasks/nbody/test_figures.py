"""Pictures of bodies: their trajectories, and a frame of them."""

import numpy as np
import pytest

from experiments.tasks.nbody.figures import frame_axes, predicted_trajectories
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


def test_trajectories_are_drawn(tmp_path, systems):
    predicted_trajectories(tmp_path / "a.png", **systems)
    assert_drawn(tmp_path / "a.png")


def test_bodies_at_rest_in_one_place_are_drawn(tmp_path, systems):
    still = {name: np.zeros_like(array[:1]) for name, array in systems.items()}
    predicted_trajectories(tmp_path / "a.png", **still)
    assert_drawn(tmp_path / "a.png")


def test_frames_are_drawn(tmp_path, systems):
    points = systems["position"][0]
    frame_axes(tmp_path / "a.png", points, *frame(points), charge=systems["charge"][0])
    frame_axes(tmp_path / "b.png", np.zeros((1, 3)), np.eye(3)[None], np.zeros((1, 3)))
    assert_drawn(tmp_path / "a.png")
    assert_drawn(tmp_path / "b.png")


def test_defects_of_the_arrays_are_named(tmp_path, systems):
    path, points = tmp_path / "a.png", systems["position"][0]
    linear, shift = frame(points)
    for change, message in [
        ({"target": np.full((3, 5, 3), np.nan)}, "^target must be finite"),
        ({"charge": np.ones((3, 4))}, r"^charge must .*\(3, 4"),
        (dict.fromkeys(systems, np.ones((3, 5))), "^position must"),
    ]:
        with pytest.raises(ValueError, match=message):
            predicted_trajectories(path, **systems | change)
    for arrays, message in [
        ((points, linear, shift[:2]), "^shift must"),
        ((points * np.inf, linear, shift), "^points must"),
    ]:
        with pytest.raises(ValueError, match=message):
            frame_axes(path, *arrays)
    assert not path.exists()
