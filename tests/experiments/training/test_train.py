"""Training: the order of the data, the steps, the validations, and how it stops."""

import io
import json
import os
import signal
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from rich.console import Console

from experiments.config.load import load_config
from experiments.errors import DivergedError, InterruptedRunError, UsageError
from experiments.results.evaluate import measure
from experiments.runs.checkpoint import Checkpoints
from experiments.runs.folder import RunFolder
from experiments.training.metrics import cut, mean_metrics
from experiments.training.optimizer import learning_rate_schedule, make_optimizer, update_average
from experiments.training.progress import TrainingProgress
from experiments.training.state import initial_state
from experiments.training.steps import batch_rows, take_steps
from experiments.training.train import dispatch_lengths, train
from tests.helpers.interrupts import interrupt_at
from tests.helpers.toy_task import config as toy_config
from tests.helpers.toy_task.task import Toy

pytestmark = pytest.mark.usefixtures("with_toy")


@pytest.fixture(scope="module")
def configure(tmp_path_factory):
    """Makes a configuration of the toy with a folder of its own."""

    def configure(*overrides: str):
        folder = tmp_path_factory.mktemp("run")
        path = folder / "toy.yaml"
        path.write_text(toy_config.TEXT.format(run=folder / "run"))
        return load_config(path, overrides)

    return configure


def run(config, task=None, console=None):
    folder = RunFolder(config.run)
    with folder.training(config):
        return train(config, folder, task or Toy(config), console or Console(quiet=True))


def records(config) -> list[dict]:
    found = RunFolder(config.run).read_metrics()
    return [{key: each for key, each in record.items() if key != "seconds"} for record in found]


def bits(tree) -> list[bytes]:
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree)]


@pytest.fixture(scope="module")
def finished(configure):
    """A configuration and the state its run ends with."""
    config = configure()
    return config, run(config)


@pytest.mark.parametrize(
    ("steps", "most", "lengths"),
    [
        (30, 30, [30]),
        (30, 100, [30]),
        (30, 20, [15, 15]),
        (30, 1, [1] * 30),
        (31, 10, [8, 8, 8, 7]),
        (7, 4, [4, 3]),
    ],
)
def test_dispatches_are_few_and_equal(steps, most, lengths):
    assert dispatch_lengths(steps, most) == lengths


def test_dispatches_cover_the_steps_with_two_lengths_at_most():
    for steps in range(1, 60):
        for most in range(1, 70):
            lengths = dispatch_lengths(steps, most)
            assert sum(lengths) == steps and max(lengths) <= most and len(set(lengths)) <= 2


def test_data_order_depends_on_seed_and_step_alone():
    rows = jax.jit(batch_rows, static_argnums=(2, 3, 4))
    key, examples, batch = jax.random.key(0), 23, 5
    whole = rows(key, jnp.int32(0), 12, examples, batch)
    parts = [rows(key, jnp.int32(first), 3, examples, batch) for first in (0, 3, 6, 9)]
    np.testing.assert_array_equal(whole, np.concatenate(parts))
    np.testing.assert_array_equal(whole[5:7], rows(key, jnp.int32(5), 2, examples, batch))
    epochs = np.asarray(whole).reshape(3, 4 * batch)
    for epoch in epochs:
        assert len(set(epoch.tolist())) == 4 * batch and epoch.max() < examples
    assert not np.array_equal(epochs[0], epochs[1])
    assert not np.array_equal(whole, rows(jax.random.key(1), jnp.int32(0), 12, examples, batch))


class Crowded(Toy):
    """Has no room for the frames of one split."""

    def __init__(self, config, crowded):
        super().__init__(config)
        self.crowded = crowded

    def check_room(self, split):
        if split == self.crowded:
            raise UsageError(f"model.max_elements: must have room, got none for {split} example 3")

    def init(self, key):
        raise AssertionError("nothing is computed")


def test_frames_without_room_are_refused_before_anything_is_computed(configure):
    for split in ("train", "valid", "test"):
        config = configure()
        with pytest.raises(UsageError, match=f"got none for {split} example 3"):
            run(config, Crowded(config, split))
        assert records(config) == []
        # So that it may be put right in the same folder, which a run that began may not.
        assert not RunFolder(config.run).config.exists()
    with pytest.raises(UsageError, match="got none for test example 3"):
        measure(config, Crowded(config, "test"), None)


def test_a_refused_start_leaves_the_configuration_of_the_run(configure):
    """Also where what was asked for may change, as the mesh: evaluations would ask for it again."""
    config = configure()
    folder = RunFolder(config.run)
    with folder.training(config):
        pass
    stored = folder.config.read_text()
    other = config.model_copy(update={"mesh": config.mesh.model_copy(update={"data": 7})})
    with pytest.raises(UsageError, match="7 devices"), folder.training(other):
        raise UsageError("mesh must fit, got 7 devices")
    assert folder.config.read_text() == stored
    with folder.training(other):
        pass
    assert folder.config.read_text() != stored


def test_a_step_is_one_of_adamw_on_the_batch(configure):
    config = configure()
    task, optimizer = Toy(config), make_optimizer(config.train, config.num_steps)
    seed = jnp.int32(3)
    state = initial_state(task, optimizer, True, seed)
    data = task.splits["train"]
    step = partial(take_steps, task=task, optimizer=optimizer, batch_size=16, ema=0.9, length=1)
    state = jax.device_get(state)
    after, trace = jax.device_get(jax.jit(step)(state, seed, data))

    key = jax.random.key(3)
    order = jax.random.permutation(jax.random.fold_in(jax.random.fold_in(key, 1), 0), 100)
    batch = {name: array[order[:16]] for name, array in data.items()}
    draws = jax.random.split(jax.random.fold_in(jax.random.fold_in(key, 2), 0), 16)
    by_hand = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(0.01, weight_decay=0.0))

    @jax.jit
    def step_by_hand(params, batch, draws):
        mean = lambda params: jnp.mean(task.losses(params, batch, draws))
        loss, gradient = jax.value_and_grad(mean)(params)
        updates, _ = by_hand.update(gradient, by_hand.init(params), params)
        return loss, gradient, optax.apply_updates(params, updates)

    with jax.numpy_dtype_promotion("standard"):
        loss, gradient, expected = jax.device_get(step_by_hand(state.params, batch, draws))
    # Both are float32 and sum in another order: a few roundings of numbers of order one.
    jax.tree.map(partial(np.testing.assert_allclose, atol=1e-6), after.params, expected)
    np.testing.assert_allclose(trace.loss[0], loss, rtol=1e-5)
    np.testing.assert_allclose(trace.gradient_norm[0], optax.tree.norm(gradient), rtol=1e-5)
    # The decay of the average is 1/10 at first, whatever its final value.
    mixed = jax.tree.map(lambda old, new: 0.1 * old + 0.9 * new, state.params, expected)
    jax.tree.map(partial(np.testing.assert_allclose, atol=1e-6), after.average, mixed)
    assert int(after.step) == 1
    assert not np.allclose(after.params["first"], state.params["first"], atol=1e-3)


def test_gradients_of_the_parts_of_a_batch_add_up_to_that_of_the_batch(configure):
    config = configure("train.gradient_parts=4")
    task, optimizer = Toy(config), make_optimizer(config.train, config.num_steps)
    data = {name: jnp.asarray(array) for name, array in task.splits["train"].items()}
    step = partial(take_steps, task=task, optimizer=optimizer, batch_size=16, ema=None, length=1)
    state = initial_state(task, optimizer, False, jnp.int32(3))
    both = jax.jit(lambda state, seed: [step(state, seed, data, gradient_parts=n) for n in (1, 4)])
    (whole, trace), (parts, trace_of_parts) = both(state, jnp.int32(3))
    jax.tree.map(partial(np.testing.assert_allclose, atol=1e-6), parts.params, whole.params)
    np.testing.assert_allclose(trace_of_parts.gradient_norm, trace.gradient_norm, rtol=1e-5)
    # The noise of an example is the same wherever it is.
    np.testing.assert_allclose(trace_of_parts.loss, trace.loss, rtol=1e-5)
    with pytest.raises(UsageError, match="gradient_parts: must divide train.batch_size"):
        configure("train.gradient_parts=3")


def test_weights_average_reaches_its_decay():
    average, params = {"w": jnp.zeros((), jnp.float32)}, {"w": jnp.ones((), jnp.float32)}
    late = update_average(average, params, jnp.int32(10**6), 0.9)
    np.testing.assert_allclose(late["w"], 0.1, rtol=1e-4)
    early = update_average(average, params, jnp.int32(0), 0.9)
    np.testing.assert_allclose(early["w"], 0.9, rtol=1e-6)
    same = update_average(params, params, jnp.int32(5), 0.9)
    assert float(same["w"]) == 1.0


def test_learning_rate_warms_up_and_ends_at_zero(configure):
    config = configure("train.warmup_steps=4", "train.learning_rate=0.5")
    rate = learning_rate_schedule(config.train, config.num_steps)
    rates = [float(rate(step)) for step in range(config.num_steps + 1)]
    assert 0 < rates[0] < rates[1] < rates[2] < rates[3] < rates[4] == 0.5
    assert all(later < earlier for earlier, later in zip(rates[4:], rates[5:], strict=False))
    assert abs(rates[-1]) < 1e-7


@pytest.mark.parametrize("chunk", [1, 8, 23, 100])
def test_metrics_in_chunks_are_those_of_the_whole(configure, chunk):
    task = Toy(configure())
    params = task.init(jax.random.key(0))
    split = task.splits["valid"]
    chunks = cut(split, chunk)
    whole = {name: np.mean(each) for name, each in task.evaluate(params, split).items()}
    found = mean_metrics(task, params, chunks)
    for name, value in whole.items():
        # A mean of 23 float32 numbers of order one.
        np.testing.assert_allclose(found[name], value, rtol=1e-5)
    filled = chunks.real.size > 23
    unmasked = mean_metrics(task, params, chunks._replace(real=jnp.ones_like(chunks.real)))
    assert filled == (abs(float(unmasked["mse"]) - whole["mse"]) > 1e-3)


def test_best_weights_are_those_of_the_best_validation(finished):
    config, state = finished
    valid = np.array([record["valid"]["mse"] for record in records(config)])
    best = np.array([record["best"] for record in records(config)])
    steps = np.array([record["step"] for record in records(config)])
    np.testing.assert_array_equal(best, np.minimum.accumulate(valid, axis=0))
    np.testing.assert_array_equal(state.best_metric, best[-1])
    np.testing.assert_array_equal(state.best_step, steps[np.argmin(valid, axis=0)])
    task = Toy(config)
    chunks = cut(task.splits["valid"], config.train.evaluation_batch_size)
    again = jax.vmap(lambda params: mean_metrics(task, params, chunks)["mse"])
    np.testing.assert_allclose(again(state.best), state.best_metric, rtol=1e-5)
    assert valid[-1].mean() < valid[0].mean()


def test_a_worse_validation_keeps_the_best(configure):
    class Forgetful(Toy):
        """Its metric is the first weight, which its loss makes larger."""

        def losses(self, params, batch, keys):
            return jnp.broadcast_to(-params["first"][0, 0], batch["target"].shape)

        def evaluate(self, params, batch):
            return {"mse": jnp.broadcast_to(params["first"][0, 0], batch["target"].shape)}

    config = configure("train.ema=null", "train.seeds=[0]")
    state = run(config, Forgetful(config))
    first, *_, last = [record["valid"]["mse"][0] for record in records(config)]
    assert last > first
    assert float(state.best_metric[0]) == first
    assert int(state.best_step[0]) == records(config)[0]["step"]
    # The metric is a mean of 23 equal float32 numbers.
    np.testing.assert_allclose(state.best["first"][0, 0, 0], first, rtol=1e-5)
    assert float(state.params["first"][0, 0, 0]) > first


def test_seeds_side_by_side_are_those_alone(finished, configure):
    _, together = finished
    alone = run(configure("train.seeds=[5]"))
    for both, one in zip(jax.tree.leaves(together), jax.tree.leaves(alone), strict=True):
        # 48 steps of float32 whose sums may run in another order.
        np.testing.assert_allclose(both[1], one[0], rtol=1e-3, atol=1e-5)
    assert not np.allclose(together.params["first"][0], together.params["first"][1], atol=0.1)


def test_length_of_a_dispatch_does_not_matter(finished, configure):
    _, state = finished
    other = run(configure("train.steps_per_dispatch=5"))
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-5), state, other)


def test_the_same_run_twice_is_the_same_bit_for_bit(finished, configure):
    config, state = finished
    again = configure()
    assert bits(run(again)) == bits(state)
    assert records(again) == records(config)


def test_a_finished_run_is_left_alone(finished):
    config, state = finished
    before = RunFolder(config.run).metrics.read_text()
    assert bits(run(config)) == bits(state)
    assert RunFolder(config.run).metrics.read_text() == before


def test_interrupted_between_validations_it_continues_bit_for_bit(finished, configure, monkeypatch):
    whole, state = finished
    config = configure()
    handler = signal.getsignal(signal.SIGINT)
    interrupt_at(monkeypatch, 20)
    with pytest.raises(InterruptedRunError, match=r"stopped at step 20 .* to continue"):
        run(config)
    monkeypatch.undo()
    assert signal.getsignal(signal.SIGINT) is handler
    assert Checkpoints(RunFolder(config.run).checkpoints).steps()[0] == 20
    assert bits(run(config)) == bits(state)
    assert records(config) == records(whole)


def test_going_on_from_another_step_shows(finished, configure):
    """The control of the test above: a state that says another step leads elsewhere."""
    config = configure()
    task = Toy(config)
    optimizer = make_optimizer(config.train, config.num_steps)
    step = partial(take_steps, task=task, optimizer=optimizer, batch_size=16, ema=0.9, length=4)
    data = {name: jnp.asarray(array) for name, array in task.splits["train"].items()}
    state = initial_state(task, optimizer, True, jnp.int32(3))
    right, _ = jax.jit(step)(state, jnp.int32(3), data)
    wrong, _ = jax.jit(step)(state._replace(step=jnp.int32(4)), jnp.int32(3), data)
    assert bits(right.params) != bits(wrong.params)


def test_a_loss_that_is_not_finite_stops_the_run(configure):
    config = configure("train.seeds=[3]", "data.num_train=30")
    task = Toy(config)
    key = jax.random.fold_in(jax.random.key(3), 1)
    rows = np.asarray(batch_rows(key, jnp.int32(0), 8, 30, 16))
    # An example that the first two epochs leave out, so that a checkpoint is there before.
    example = next(row for row in rows[2:].ravel() if row not in rows[:2])
    bad = int(np.argmax(np.any(rows == example, axis=1))) + 1
    task.splits["train"]["input"][example] = np.nan
    with pytest.raises(DivergedError) as caught:
        run(config, task)
    message = str(caught.value)
    assert message.startswith(f"step {bad}: the loss of seed 3 is nan;")
    assert "the checkpoint of step 2 is kept" in message
    assert "train.learning_rate (now 0.01)" in message and "train.clip_norm" in message
    assert caught.value.exit_code == 3
    folder = RunFolder(config.run)
    assert Checkpoints(folder.checkpoints).steps() == [2]
    assert all(np.isfinite(record["loss"]).all() for record in records(config))


def test_a_gradient_that_is_not_finite_stops_the_run(configure):
    class Cornered(Toy):
        """Its loss is finite where its gradient is not."""

        def losses(self, params, batch, keys):
            return jnp.broadcast_to(jnp.sqrt(jnp.sum(0 * params["first"])), batch["target"].shape)

    config = configure()
    with pytest.raises(
        DivergedError, match=r"step 1: .*norm of its gradient nan; .* no checkpoint"
    ):
        run(config, Cornered(config))


def test_a_metric_that_is_not_finite_stops_the_run(configure):
    class Blind(Toy):
        """Its metric is undefined."""

        def evaluate(self, params, batch):
            return {"mse": batch["target"] * jnp.nan}

    config = configure()
    with pytest.raises(DivergedError, match="step 12: the validation mse of seed 3 is nan"):
        run(config, Blind(config))
    assert records(config) == []


def test_a_damaged_checkpoint_leads_to_the_same_end(finished, configure):
    whole, state = finished
    config = configure()
    run(config)
    folder = RunFolder(config.run)
    (folder.checkpoints / "000000048" / "manifest.ocdbt").write_bytes(b"")
    with pytest.warns(UserWarning, match=r"000000048 cannot be used.*going back to step 36"):
        again = run(config)
    assert bits(again) == bits(state)
    assert records(config) == records(whole)


def test_one_process_at_a_time(configure):
    config = configure()
    with (
        RunFolder(config.run).training(config),
        pytest.raises(UsageError, match=rf"^run: .* process {os.getpid()}"),
        RunFolder(config.run).training(config),
    ):
        pass
    with RunFolder(config.run).training(config):
        pass


def test_another_configuration_is_refused_and_named(configure):
    config = configure()
    with RunFolder(config.run).training(config):
        pass

    def changed(**sections):
        values = config.model_dump()
        for name, section in sections.items():
            values[name] |= section
        return type(config).model_validate(values)

    different = changed(train={"learning_rate": 0.5, "keep": 5}, model={"hidden": 9})
    with pytest.raises(UsageError) as caught, RunFolder(config.run).training(different):
        pass
    message = str(caught.value)
    assert "train.learning_rate: 0.01 in the folder, 0.5 asked for" in message
    assert "model.hidden: 8 in the folder, 9 asked for" in message
    assert "keep" not in message
    with RunFolder(config.run).training(changed(train={"keep": 5}, data={"cache": "elsewhere"})):
        pass


def test_a_folder_with_something_else_is_refused(configure, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    config = configure(f"run={tmp_path}")
    with (
        pytest.raises(UsageError, match=r"holds thesis.tex and no run"),
        RunFolder(config.run).training(config),
    ):
        pass
    file = configure(f"run={tmp_path / 'thesis.tex'}")
    with pytest.raises(UsageError, match="cannot be written"), RunFolder(file.run).training(file):
        pass


def test_metrics_are_plain_lines_of_json(finished):
    config, _ = finished
    lines = RunFolder(config.run).metrics.read_text().splitlines()
    assert len(lines) == 4
    first = json.loads(lines[0])
    assert (first["step"], first["epoch"]) == (12, 2)
    assert len(first["loss"]) == len(first["valid"]["mse"]) == len(first["best"]) == 2
    assert first["seconds"] > 0
    assert list(RunFolder(config.run).tensorboard.glob("events*"))


def test_progress_is_a_bar_on_a_terminal_and_lines_elsewhere(configure):
    record = {"step": 12, "epoch": 2, "loss": [1.0], "valid": {"mse": [0.5]}, "best": [0.5]}
    record["seconds"] = 3.0
    seen = {}
    for terminal in (True, False):
        console = Console(file=io.StringIO(), force_terminal=terminal, width=100)
        with TrainingProgress(console, "mse", 0, 48) as progress:
            progress.dispatched(12, 1.0)
            progress.validated(record)
            progress.dispatched(16, 1.0)
        seen[terminal] = console.file.getvalue()
    assert "steps/s" in seen[True] and "16/48" in seen[True] and "best mse 0.5" in seen[True]
    assert seen[False] == ("step 12/48  epoch 2  loss 1  valid mse 0.5  best 0.5  3.0 s\n")
