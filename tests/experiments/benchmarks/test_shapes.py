"""Which molecules are planar, nearly degenerate, or neither."""

import numpy as np

from experiments.benchmarks.shapes import shapes


def _turned(points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    return points @ rotation.T + rng.normal(size=3)


def test_shapes_are_told_apart_whatever_the_pose_and_the_padding():
    rng = np.random.default_rng(0)
    box = np.array([[x, y, z] for x in (-3.0, 3) for y in (-2.0, 2) for z in (-1.0, 1)])
    clouds = {
        "planar": box * [1, 1, 0],
        "nearly degenerate": box * [1, 1.499, 1],
        "rest": box,
    }
    positions = np.zeros((9, 10, 3))
    real = np.arange(10) < 8
    for index, cloud in enumerate([*clouds.values()] * 3):
        positions[index, :8] = _turned(cloud, rng)
        positions[index, 8:] = 100.0
    masks = shapes(positions, np.broadcast_to(real, (9, 10)))
    for index, name in enumerate(clouds):
        expected = np.arange(9) % 3 == index
        np.testing.assert_array_equal(masks[name], expected)


def test_a_regular_polygon_is_planar_first_and_every_molecule_has_one_shape():
    angles = np.arange(5) * (2 * np.pi / 5)
    pentagon = np.stack([np.cos(angles), np.sin(angles), 0 * angles], axis=1)
    clouds = np.stack([pentagon, np.random.default_rng(0).normal(size=(5, 3)), np.zeros((5, 3))])
    masks = shapes(clouds, np.ones((3, 5), bool))
    assert masks["planar"][0]
    np.testing.assert_array_equal(sum(mask.astype(int) for mask in masks.values()), 1)
