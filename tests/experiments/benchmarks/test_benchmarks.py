"""The benchmarks run, at the smallest sizes, and print their tables."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import symjax_frames as sf
from experiments.benchmarks import averaging, group_conv, timing, wrapping
from experiments.benchmarks.averaged_backbones import BACKBONES
from experiments.errors import UsageError


@pytest.fixture
def small_network(monkeypatch):
    """Puts a network that compiles fast in the place of the backbone."""
    gnn = BACKBONES["gnn"](4, 1)
    monkeypatch.setitem(BACKBONES, "gnn", lambda *sizes: gnn._replace(network=gnn.trivial))


def test_averaging_prints_times_and_ratios(capsys, small_network):
    averaging.main(["--repeats=1", "--systems=2", "--hidden=8", "--backbones=gnn"])
    out = capsys.readouterr().out
    assert "2 systems, networks 8 wide with 4 layers" in out
    for row in ("average / 8 backbones", "sampled element / backbone"):
        assert row in out
    assert "66 ms" in out and "1.08" in out and "nan" not in out


@pytest.mark.parametrize("name", ["transformer", "point_sum"])
def test_what_is_timed_is_an_invariant_average_of_a_backbone_that_is_not(name):
    backbone = BACKBONES[name](4, 1)
    call = functools.partial(backbone.call, backbone.network)
    average = sf.frame_average(call, sf.pca_frame, **backbone.actions)
    positions, species = backbone.inputs(1)
    turn, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))
    both = jnp.concatenate([positions, positions @ turn.astype(np.float32) + 1])

    def change(model):
        one, other = jax.jit(jax.vmap(model))(both, jnp.tile(species, (2, 1)))
        return abs(one - other) / abs(one)

    assert change(average) < 1e-4 and change(call) > 1e-2


def test_a_width_that_the_transformer_cannot_have_is_refused():
    with pytest.raises(UsageError, match="hidden must be a multiple of 4 .*, got 30"):
        BACKBONES["transformer"](30, 1)


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
