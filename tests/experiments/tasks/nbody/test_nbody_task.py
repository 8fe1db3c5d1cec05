"""The n-body task: what each of its models promises, how it is trained, what a report shows."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import symjax_frames as sf
from experiments.errors import UsageError
from experiments.tasks.nbody.config import NBodyConfig
from experiments.tasks.nbody.model import ACTIONS
from experiments.tasks.nbody.task import NBody
from symjax_frames.testing import equivariance_error
from tests.helpers.bodies import write_bodies

MODELS = {
    "averaged": {"frame": "pca"},
    "sampled": {"frame": "pca", "group": "SE", "training_average": "sampled", "num_samples": 2},
    "alone": {},
    "augmented": {"augmentation": "rotations"},
    "egnn": {"backbone": "egnn"},
    "layerwise": {"backbone": "layerwise_gnn"},
    "linear": {"backbone": "linear"},
}
ROBUST = {"frame": "robust", "training_average": "sampled"}
WIDER = {
    "narrow": ROBUST | {"threshold": 0.9},
    "both": ROBUST | {"threshold": 0.9, "training_threshold": 0.1},
    "wide": ROBUST | {"threshold": 0.1},
    "short": ROBUST | {"threshold": 0.9, "training_threshold": 0.1, "max_elements": 8},
}


@pytest.fixture(scope="module")
def make(tmp_path_factory):
    """Makes a task by the name of its model, on twelve systems a split in the format of a user."""
    path = write_bodies(tmp_path_factory.mktemp("data") / "bodies.npz", 12)

    # The same task each time, so that what is compiled of it is compiled once.
    @functools.cache
    def make(name):
        sizes = {} if name == "linear" else {"hidden": 4, "layers": 1}
        counts = {"num_train": 12, "num_valid": 12, "num_test": 12}
        task = NBody(
            NBodyConfig(
                task="nbody",
                run="unused",
                data={"path": str(path), **counts},
                model=sizes | (MODELS | WIDER)[name],
                train={"epochs": 1, "batch_size": 6, "loss": "l1"},
            )
        )
        task.slope = jax.jit(jax.value_and_grad(task.loss))
        return task

    return make


def generic(task):
    """Parameters away from their initial zeros; drawn by NumPy, which compiles nothing."""
    draws = np.random.default_rng(0)
    shapes = jax.eval_shape(task.init, jax.random.key(0))
    return jax.tree.map(
        lambda leaf: (0.5 * draws.normal(size=leaf.shape)).astype(leaf.dtype), shapes
    )


def first(task, split):
    return {name: array[:6] for name, array in task.splits[split].items()}


@pytest.mark.parametrize("name", MODELS)
def test_models_train_and_are_as_equivariant_as_promised(make, keys, name):
    task = make(name)
    params, batch = generic(task), first(task, "train")
    loss, slope = task.slope(params, batch, next(keys))
    assert np.isfinite(loss)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(slope))
    assert any(np.any(leaf) for leaf in jax.tree.leaves(slope))
    errors = task.equivariance(params, batch, next(keys))
    assert set(errors) == {"SE(3)", "SE(3) worst", "E(3)", "E(3) worst"}
    if name in ("alone", "augmented"):
        assert errors["SE(3)"] > 1e-3
    elif name == "sampled":
        # Frames of SE(3) do not promise reflections.
        assert errors["SE(3) worst"] < 1e-3 and errors["SE(3)"] < 1e-5
        assert errors["E(3)"] > 1e-3
    else:
        # Six random clouds in float32, gaps of a few percent: the bound leaves them room.
        assert errors["E(3) worst"] < 1e-3
        assert errors["E(3)"] < 1e-5


def test_errors_are_mean_squares_of_a_system(make, monkeypatch):
    task = make("linear")
    batch, errors = first(task, "test"), np.random.default_rng(0).normal(size=(6, 5, 3))
    predicted = batch["target"] + jnp.asarray(errors, jnp.float32)
    monkeypatch.setattr(task, "predict", lambda params, batch: predicted)
    metrics = task.evaluate({}, batch)
    assert set(metrics) == {"mse"} and task.metric == "mse"
    np.testing.assert_allclose(metrics["mse"], np.mean(errors**2, axis=(1, 2)), rtol=1e-5)


def test_sampled_training_draws_from_the_key(make):
    for name, count in (("averaged", 1), ("sampled", 4)):
        task = make(name)
        params, batch = generic(task), first(task, "train")
        losses = {float(task.slope(params, batch, jax.random.key(seed))[0]) for seed in range(4)}
        assert len(losses) == count


def test_training_draws_from_the_wider_frame(make, keys):
    key = next(keys)
    losses, errors = {}, {}
    for name in ("narrow", "both", "wide"):
        task = make(name)
        params, batch = generic(task), first(task, "train")
        losses[name] = jax.jit(task.loss)(params, batch, key)
        if name != "wide":
            errors[name] = jax.jit(task.evaluate)(params, batch)["mse"]
    assert losses["both"] == losses["wide"] != losses["narrow"]
    np.testing.assert_array_equal(errors["both"], errors["narrow"])


def test_examples_must_fit_into_the_wider_frame_only_to_train(make):
    task = make("short")
    task.check_room("test")
    with pytest.raises(UsageError, match="max_elements: must have room"):
        task.check_room("train")


def test_report_draws_predictions_and_frames(make, monkeypatch, tmp_path):
    for name, count in (("averaged", 2), ("linear", 1)):
        task = make(name)
        # An average less to compile. The linear model draws what it predicts.
        if name == "averaged":
            monkeypatch.setattr(task, "predict", lambda params, batch: jnp.asarray(batch["target"]))
        folder = tmp_path / name
        folder.mkdir()
        pictures = task.report(generic(task), folder)
        assert len(pictures) == count
        assert all(path.stat().st_size > 10_000 for _, path in pictures)


def test_untrained_networks_move_freely(make, keys):
    task = make("alone")
    batch = first(task, "test")
    predicted = jax.jit(task.predict)(jax.jit(task.init)(next(keys)), batch)
    np.testing.assert_allclose(predicted, batch["position"] + batch["velocity"], atol=1e-5)
    law = {"group": sf.euclidean(3), "key": next(keys), **ACTIONS}
    error = jax.jit(functools.partial(equivariance_error, task.network(generic(task)), **law))
    assert error(*(batch[name][0] for name in ("position", "velocity", "charge"))) > 1e-3
