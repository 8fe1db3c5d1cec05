"""The benchmark of a device: its errors, and the tables of small sizes."""

import json

import jax
import numpy as np

from experiments.benchmarks import device
from experiments.benchmarks.device import errors, frames, steps


def test_averages_are_as_exact_as_their_dtype():
    few = {name: errors.AVERAGES[name] for name in ("no average", "pca_frame")}
    few["smooth"] = errors.AVERAGES["canonical_frame, smooth"]
    found = {name: errors.errors(few, *errors.COLUMNS[name], 8) for name in ("float32", "bfloat16")}
    for name, error in found.items():
        assert error["no average"][0] > 0.1
        assert max(error["pca_frame"][0], error["smooth"][0]) < (
            0.03 if name == "bfloat16" else 1e-5
        )
    # Of clouds that are rounded themselves.
    assert found["bfloat16"]["pca_frame"][0] > 1e-4


def test_all_parts_are_printed_and_written(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(errors, "AVERAGES", {"no average": errors.AVERAGES["no average"]})
    monkeypatch.setattr(frames, "FRAMES", {"pca_frame": frames.FRAMES["pca_frame"]})
    monkeypatch.setattr(steps, "CASES", {"nbody_linear": steps.CASES["nbody"]})
    device.main(["--quick", "--out", str(tmp_path)])
    out = capsys.readouterr().out
    assert jax.devices()[0].device_kind in out and "Peak memory of the device" in out
    results = json.loads((tmp_path / "device.json").read_text("utf-8"))["results"]
    assert list(results) == ["errors", "frames", "steps", "peak_bytes"]
    timed = results["steps"]["steps"]
    assert [step["precision"] for step in timed] == ["float32", "bfloat16"]
    assert all(np.isfinite(step["ms"]) and step["ms"] > 0 for step in timed)
    assert "| pca_frame | 64 |" in (tmp_path / "device.md").read_text("utf-8")
