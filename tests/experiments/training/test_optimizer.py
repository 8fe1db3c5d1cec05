"""Optimizers: what an update of Muon is, and that a run with it goes on bit for bit."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from rich.console import Console

from experiments.config.load import load_config
from experiments.errors import InterruptedRunError
from experiments.runs.folder import RunFolder
from experiments.training.optimizer import make_optimizer
from experiments.training.packing import packing
from experiments.training.train import train
from tests.helpers.interrupts import interrupt_at
from tests.helpers.toy_task import config as toy_config
from tests.helpers.toy_task.task import Toy

pytestmark = pytest.mark.usefixtures("with_toy")


@pytest.fixture
def configure(tmp_path):
    """Makes a configuration of the toy, in a folder of a name."""

    def configure(name: str, *overrides: str):
        path = tmp_path / f"{name}.yaml"
        path.write_text(toy_config.TEXT.format(run=tmp_path / name))
        return load_config(path, overrides)

    return configure


def first_update(config, gradient, params):
    """What the first step adds to the weights, over the learning rate of it."""
    found = packing(params)
    optimizer = make_optimizer(config.train, config.num_steps)
    state = found.pack(optimizer.init(params))
    with jax.numpy_dtype_promotion("standard"):
        update = jax.jit(partial(optimizer.update, packed=found))
        moved, _ = update(found.pack(gradient), state, found.pack(params))
    return jax.tree.map(
        lambda leaf: np.asarray(leaf) / config.train.learning_rate, found.unpack(moved)
    )


def arrays(seed: int):
    """Parameters of a network, and gradients that nearly are of rank one where they are matrices."""
    draws = np.random.default_rng(seed)
    shapes = {"kernel": (24, 8), "bias": (8,), "embedding": (5, 8)}
    column, row = draws.normal(size=(24, 1)), draws.normal(size=(1, 8))
    gradient = {name: 0.03 * draws.normal(size=shape) for name, shape in shapes.items()}
    gradient["kernel"] += column * row
    cast = partial(jax.tree.map, partial(jnp.asarray, dtype=jnp.float32))
    return cast({name: draws.normal(size=shape) for name, shape in shapes.items()}), cast(gradient)


def spread(matrix) -> float:
    """The largest singular value over the smallest."""
    values = np.linalg.svd(matrix, compute_uv=False)
    return float(values[0] / values[-1])


def test_an_update_of_muon_moves_matrices_alike_in_all_directions(configure):
    params, gradient = arrays(0)
    found = first_update(configure("muon", "train.optimizer=muon"), gradient, params)
    by_adamw = first_update(configure("adamw"), gradient, params)
    # The iteration ends within a third of one, by its authors.
    values = np.linalg.svd(found["kernel"], compute_uv=False) / (0.2 * np.sqrt(24))
    assert 0.6 < values.min() < values.max() < 1.3
    assert np.sum(found["kernel"] * np.asarray(gradient["kernel"])) < 0
    # What is no matrix is moved as by AdamW with the momentum of Nesterov.
    nadamw = optax.nadamw(1.0)
    with jax.numpy_dtype_promotion("standard"):
        others, _ = nadamw.update(gradient, nadamw.init(params), params)
    for name in ("bias", "embedding"):
        np.testing.assert_allclose(found[name], others[name], rtol=1e-3)
    # Updates of AdamW are of low rank where their gradients are.
    assert spread(by_adamw["kernel"]) > 10
    # Both kinds move by about as much for a learning rate.
    assert 0.1 < np.std(found["kernel"]) < 0.3


@pytest.mark.parametrize("names", [("kernel", "head"), ("bias", "embedding")])
def test_parameters_may_be_matrices_alone_or_none(configure, names):
    params, gradient = arrays(2)
    params["head"], gradient["head"] = params["kernel"][:, :3], gradient["kernel"][:, :3]
    config = configure("muon", "train.optimizer=muon")
    whole = first_update(config, gradient, params)
    chosen = [{name: tree[name] for name in names} for tree in (gradient, params)]
    alone = first_update(
        configure("alone", "train.optimizer=muon", "train.clip_norm=null"), *chosen
    )
    for name in names:
        # A gradient that is clipped with others is smaller, which shows in no update but by rounding.
        np.testing.assert_allclose(alone[name], whole[name], rtol=1e-2, atol=1e-3)


def test_the_update_of_muon_decays_weights(configure):
    params, gradient = arrays(1)
    options = "train.optimizer=muon", "train.weight_decay=0.5"
    bare = first_update(configure("bare", options[0]), gradient, params)
    decayed = first_update(configure("decayed", *options), gradient, params)
    for name, value in params.items():
        np.testing.assert_allclose(decayed[name], bare[name] - 0.5 * value, atol=1e-5)


def test_a_run_with_muon_goes_on_bit_for_bit(configure, monkeypatch):
    def run(config):
        folder = RunFolder(config.run)
        with folder.training(config):
            state = train(config, folder, Toy(config), Console(quiet=True))
        return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(state)]

    whole = run(configure("whole", "train.optimizer=muon"))
    assert run(configure("adamw")) != whole
    config = configure("stopped", "train.optimizer=muon")
    with monkeypatch.context() as patch:
        interrupt_at(patch, 20)
        with pytest.raises(InterruptedRunError, match="stopped at step 20"):
            run(config)
    assert run(config) == whole
