"""Assertions on pictures."""

from matplotlib.image import imread


def assert_drawn(path):
    image = imread(path)
    assert min(image.shape[:2]) > 200
    # Something is drawn: a page of one colour has no deviation.
    assert image[..., :3].std() > 0.02
