"""Packed parameters, and how often the programs of training are traced."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments.config.load import load_config
from experiments.training.optimizer import make_optimizer
from experiments.training.packing import Packed, packing
from experiments.training.programs import make_programs, packed_state
from experiments.training.state import initial_state
from tests.helpers.toy_task import config as toy_config
from tests.helpers.toy_task.task import Toy

PARAMS = {"a": np.arange(6.0).reshape(2, 3), "b": [np.float64(7.0), np.arange(2.0)]}


class Counted(Toy):
    """Counts how often its loss is traced."""

    traces = 0

    def losses(self, *args):
        self.traces += 1
        return super().losses(*args)


def test_what_is_packed_is_unpacked_to_the_same_numbers_wherever_it_stands():
    pack, unpack = packing(PARAMS)
    stacked = jax.tree.map(lambda leaf: np.stack([leaf, leaf + 1]), PARAMS)
    moments = optax.scale_by_adam().init(jax.tree.map(jnp.asarray, PARAMS))
    # As many numbers as the parameters have, and yet no parameters.
    tree = {"step": np.arange(9.0), "params": PARAMS, "seeds": stacked, "moments": moments}
    packed = pack(tree)
    assert isinstance(packed["params"], Packed) and isinstance(packed["moments"].mu, Packed)
    assert packed["params"].vector.tolist() == [0, 1, 2, 3, 4, 5, 7, 0, 1]
    assert packed["seeds"].vector.shape == (2, 9)
    back = unpack(packed)
    assert jax.tree.structure(back) == jax.tree.structure(tree)
    jax.tree.map(np.testing.assert_array_equal, back, tree)


def test_nothing_is_packed_of_two_dtypes():
    mixed = {"a": np.zeros(2, np.float32), "b": np.zeros(2, np.float64)}
    pack, unpack = packing(mixed)
    assert pack(mixed) is mixed and unpack(mixed) is mixed


@pytest.mark.usefixtures("with_toy")
def test_the_loss_is_traced_once_for_each_length(tmp_path):
    path = tmp_path / "toy.yaml"
    path.write_text(toy_config.TEXT.format(run=tmp_path / "run"))
    config = load_config(path, ["train.seeds=[3]"])
    task = Counted(config)
    optimizer = make_optimizer(config.train, config.num_steps)
    initial = partial(initial_state, task, optimizer, True)
    shapes = jax.eval_shape(jax.vmap(initial), jnp.zeros(1, jnp.int32))
    state, packed = packed_state(jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes))
    dispatch = make_programs(config, task, packed).dispatch
    examples = {name: jnp.asarray(array) for name, array in task.splits["train"].items()}
    for _ in range(2):
        state, _ = dispatch(state, examples, 2)
    assert task.traces == 1 and state.step.tolist() == [4]
    # The control: another length is another shape.
    dispatch.trace(state, examples, 3)
    assert task.traces == 2
