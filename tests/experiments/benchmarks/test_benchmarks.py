"""The benchmarks run, at the smallest sizes, and print their tables."""

import jax.numpy as jnp
import pytest

from experiments.benchmarks import averaging, group_conv, timing, wrapping
from experiments.tasks.nbody.config import NBodyModelConfig
from experiments.tasks.nbody.model import Network


@pytest.fixture
def small_network(monkeypatch):
    """Puts a network that compiles fast in the place of the backbone."""
    linear = NBodyModelConfig(backbone="linear")
    monkeypatch.setattr(averaging, "Network", lambda config, rngs: Network(linear, rngs=rngs))


def test_averaging_prints_times_and_ratios(capsys, small_network):
    averaging.main(["--repeats=1", "--systems=2", "--hidden=8"])
    out = capsys.readouterr().out
    assert "2 systems of 5 bodies, PointGNN 8 wide with 4 layers" in out
    for row in ("average / 8 backbones", "sampled element / backbone"):
        assert row in out
    assert "66 ms" in out and "1.08" in out and "nan" not in out


def test_group_conv_prints_a_line_for_each_layer_and_size(capsys):
    group_conv.main("--repeats=1 --batch=2 --features=2 --sides 8 --inputs 3".split())
    out = capsys.readouterr().out
    assert "lifting, 3 -> 2" in out and "group, 2 -> 2" in out and "8 x 8" in out
    assert "1.15" in out and "nan" not in out


def test_options_are_checked(capsys, tmp_path):
    with pytest.raises(SystemExit):
        averaging.main(["--repeats=0"])
    assert "must be a positive integer, got 0" in capsys.readouterr().err
    # Before anything is measured, which takes minutes.
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit):
        wrapping.main([f"--out={tmp_path / 'file'}"])
    assert "file cannot be written: File exists" in capsys.readouterr().err


def test_medians_time_every_call():
    calls = {"sum": timing.prepare(jnp.sum, jnp.ones(3))[0]}
    assert 0 < timing.medians(calls, 3)["sum"] < 1e3
