"""The benchmark of examples that are read from files."""

import json

from experiments.benchmarks import feed


def test_both_sources_are_timed(capsys, tmp_path):
    small = "model.backbone=linear model.frame=none model.closure=signs train.batch_size=10"
    whole = "model.training_average=full model.num_samples=1 train.seeds=[0]"
    feed.main([f"--out={tmp_path}", "--epochs=1", "--examples=20", *small.split(), *whole.split()])
    assert "examples from" in capsys.readouterr().out
    numbers = json.loads((tmp_path / "feed.json").read_text())
    assert numbers["memory"]["waiting"] == 0 < numbers["files"]["waiting"] < 1
