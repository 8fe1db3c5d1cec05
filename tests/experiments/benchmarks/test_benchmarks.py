"""The benchmarks run, at the smallest sizes, and print their tables."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

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


@pytest.mark.parametrize("name", BACKBONES)
def test_what_is_timed_is_an_equivariant_average_of_a_backbone_that_is_not(name):
    backbone = BACKBONES[name](4, 1)
    graph, state = nnx.split(backbone.network)
    # What begins as zero would hide the rest of the network.
    state = jax.tree.map(
        lambda x: x + 0.3 * jnp.sin(jnp.arange(x.size, dtype=x.dtype)).reshape(x.shape), state
    )
    call = functools.partial(backbone.call, nnx.merge(graph, state))
    inputs = tuple(array[0] for array in backbone.inputs(2))
    turn, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))
    motion = sf.Isometry(jnp.asarray(turn, jnp.float32), jnp.ones(3, jnp.float32))
    moves, output = backbone.actions["in_actions"], backbone.actions["out_actions"]
    moved = tuple(
        array if action is None else action.push(motion, array)
        for action, array in zip(moves, inputs, strict=True)
    )

    @jax.jit
    def errors(inputs, moved):
        found = []
        for model in (call, sf.frame_average(call, sf.pca_frame, **backbone.actions)):
            value = model(*inputs)
            expected = value if output is None else output.push(motion, value)
            error = jnp.max(jnp.abs(model(*moved) - expected))
            found.append(error / jnp.max(jnp.abs(value)))
        return found

    alone, average = errors(inputs, moved)
    assert average < 1e-4 and alone > 1e-2


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
