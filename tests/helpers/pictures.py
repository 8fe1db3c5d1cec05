"""Assertions on pictures."""

from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.text import Text


def words_in_pictures(monkeypatch):
    """What is written into each picture that is saved from now on, by its path."""
    words = {}
    save = Figure.savefig

    def keep(figure, path, **options):
        save(figure, path, **options)
        words[path] = {text.get_text() for text in figure.findobj(Text)}

    monkeypatch.setattr(Figure, "savefig", keep)
    return words


def assert_drawn(path):
    image = imread(path)
    assert min(image.shape[:2]) > 200
    # Something is drawn: a page of one colour has no deviation.
    assert image[..., :3].std() > 0.02
