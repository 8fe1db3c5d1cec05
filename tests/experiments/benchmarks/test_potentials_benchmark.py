"""The benchmark of potentials: every model is timed in all it does, against the baseline."""

import json

from experiments.benchmarks import potentials
from experiments.errors import UsageError

# ASE sets the shapes of arrays, which NumPy has deprecated.
_TINY = ["--repeats", "1", "--batches", "2", "--molecules", "2", "--hidden", "4", "--layers", "1"]


def test_models_are_timed_and_compared_with_the_baseline(tmp_path, capsys, monkeypatch):
    # Fast to compile, and standing for the slow ones.
    baseline = {"backbone": "point_sum"}
    models = {
        "averaged": {**baseline, "frame": "quadrature", "quadrature_degree": 1},
        "baseline": baseline,
        "left out": baseline,
    }
    for module in (potentials, potentials.models):
        monkeypatch.setattr(module, "MODELS", models)
        monkeypatch.setattr(module, "BASELINE", "baseline")
    named = ["--models", "averaged", "baseline", "--rattle", "0.05", "--out", str(tmp_path)]
    potentials.main([*_TINY, "--e3x-hidden", "4", "--e3x-layers", "1", *named])
    stored = json.loads((tmp_path / "potentials.json").read_text("utf-8"))["models"]
    assert list(stored) == ["averaged", "baseline"]
    assert [model["elements"] for model in stored.values()] == [8, 1]
    for model in stored.values():
        assert set(model["ms"]) == {"batch 2", "evaluation", "dynamics"}
        assert min(model["ms"].values()) > 0
    rows = (tmp_path / "potentials.md").read_text("utf-8").splitlines()
    # Another model may happen to be as fast.
    own = "".join(row for row in rows if row.startswith("| baseline |"))
    assert own.count("(1.00)") == 3, "the baseline is as fast as itself"
    assert "ns/day" in capsys.readouterr().out


def test_a_baseline_that_is_not_installed_is_left_out(capsys, monkeypatch):
    monkeypatch.setattr(potentials, "MODELS", {"e3x": {"backbone": "e3x"}})

    def refuse(*unused):
        raise UsageError("e3x is not installed")

    monkeypatch.setattr(potentials, "prepared", refuse)
    potentials.main(_TINY)
    assert "left out: e3x is not installed" in capsys.readouterr().out
