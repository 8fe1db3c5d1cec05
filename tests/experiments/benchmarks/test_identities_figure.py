"""The errors of the identities off the grid: their size, their table and their picture."""

import argparse

import numpy as np
import pytest

from experiments.benchmarks import identities
from experiments.benchmarks.figures.identities import identity_errors
from tests.helpers.pictures import assert_drawn


@pytest.fixture(scope="module")
def measured():
    options = argparse.Namespace(size=25, kernel=3, images=1, steps=2, seed=0)
    return identities.measure(options)


def test_the_grid_is_exact_and_the_rest_is_not(measured):
    errors, kernels = measured
    assert list(errors) == ["kernel rotation", "lifting", "group average"]
    for angles, values in errors.values():
        assert values.shape == (len(kernels), 3, len(angles))
        grid = angles % 90 == 0
        assert grid.any() and not grid.all()
        # Sums of 25 products of float32, and averages of 4.
        assert values[..., grid].max() < 30 * np.finfo(np.float32).eps
        assert values[..., ~grid].min() > 1e-4
        # Functions sampled at turned points beat pixels that are interpolated, in smooth images.
        off = dict(zip(kernels, values[:, 0, ~grid].max(axis=-1), strict=True))
        assert off["harmonics"] < off["pixels, cubic"] / 4


def test_the_table_is_printed_and_the_figure_drawn(tmp_path, capsys, monkeypatch, measured):
    monkeypatch.setattr(identities, "measure", lambda options: measured)
    identities.main([f"--out={tmp_path / 'new'}", "--steps=2", "--images=1"])
    out = capsys.readouterr().out
    assert "lifting" in out and "harmonics" in out and "nan" not in out
    assert_drawn(tmp_path / "new" / "identities.png")


def test_defects_of_the_errors_are_named(tmp_path):
    path, names = tmp_path / "a.png", ["a"]
    good = {"lifting": (np.arange(3.0), np.ones((1, 1, 3)))}
    for errors, kernels, message in [
        ({}, names, "^errors must .* got 0 identities"),
        (good, list("abcde"), "^errors must .* 5 kernels"),
        (good, ["a", "b"], r"^lifting must .*\(1, 1, 3\)"),
        (
            {"lifting": (np.arange(3.0), np.full((1, 1, 3), np.nan))},
            names,
            "^lifting must be finite",
        ),
    ]:
        with pytest.raises(ValueError, match=message):
            identity_errors(path, errors, kernels, [0.5])
    assert not path.exists()
