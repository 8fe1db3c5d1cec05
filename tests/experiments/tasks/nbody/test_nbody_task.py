import jax
import jax.numpy as jnp
import numpy as np
import pytest

import symjax_frames as sf
from experiments.tasks.nbody.config import NBodyConfig
from experiments.tasks.nbody.model import ACTIONS, frame_of
from experiments.tasks.nbody.task import NBody
from symjax_frames.testing import equivariance_error

MODELS = {
    "averaged": {"frame": "pca"},
    "sampled": {"frame": "pca", "training_average": "sampled", "num_samples": 2},
    "alone": {},
    "augmented": {"augmentation": "rotations"},
    "egnn": {"backbone": "egnn"},
    "layerwise": {"backbone": "layerwise_gnn"},
    "linear": {"backbone": "linear"},
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Twelve systems a split, in the file format of a user."""
    draw = np.random.default_rng(0)
    arrays = {}
    for split in ("train", "valid", "test"):
        for name in ("position", "velocity", "target"):
            arrays[f"{name}_{split}"] = draw.normal(size=(12, 5, 3)).astype(np.float32)
        arrays[f"charge_{split}"] = draw.choice([-1.0, 1.0], size=(12, 5)).astype(np.float32)
    path = tmp_path_factory.mktemp("data") / "bodies.npz"
    np.savez(path, **arrays)
    return {"path": str(path), "num_train": 12, "num_valid": 12, "num_test": 12}


def make(data, **model):
    sizes = {} if model.get("backbone") == "linear" else {"hidden": 4, "layers": 1}
    return NBody(
        NBodyConfig(
            task="nbody",
            run="unused",
            data=data,
            model={**sizes, **model},
            train={"epochs": 1, "batch_size": 6, "loss": "l1"},
        )
    )


def generic(task, key):
    """Parameters away from their initial zeros, under which little moves and every law holds."""
    params = task.init(key)
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(key, len(leaves))
    moved = [
        leaf + 0.3 * jax.random.normal(k, leaf.shape, leaf.dtype)
        for leaf, k in zip(leaves, keys, strict=True)
    ]
    return tree.unflatten(moved)


@pytest.mark.parametrize("name", MODELS)
def test_models_train_and_are_as_equivariant_as_promised(data, keys, name):
    task = make(data, **MODELS[name])
    params = generic(task, next(keys))
    batch = {key: jnp.asarray(value[:6]) for key, value in task.splits["train"].items()}
    loss, slope = jax.jit(jax.value_and_grad(task.loss))(params, batch, next(keys))
    assert np.isfinite(loss)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(slope))
    assert any(np.any(leaf) for leaf in jax.tree.leaves(slope))
    metrics = jax.jit(task.evaluate)(params, batch)
    assert metrics["mse"].shape == (6,)
    np.testing.assert_allclose(
        metrics["mse"],
        np.mean((task.predict(params, batch) - batch["target"]) ** 2, axis=(1, 2)),
        rtol=1e-5,
    )
    errors = task.equivariance(params, batch, next(keys))
    assert set(errors) == {"SE(3)", "SE(3) worst", "E(3)", "E(3) worst"}
    if name in ("alone", "augmented"):
        assert errors["SE(3)"] > 1e-3
    else:
        # Six random clouds in float32, gaps of a few percent: the bound leaves them room.
        assert errors["E(3) worst"] < 1e-3
        assert errors["E(3)"] < 1e-5


def test_proper_frames_do_not_promise_reflections(data, keys):
    task = make(data, frame="pca", group="SE")
    batch = {key: jnp.asarray(value[:6]) for key, value in task.splits["test"].items()}
    errors = task.equivariance(generic(task, next(keys)), batch, next(keys))
    assert errors["SE(3)"] < 1e-5
    assert errors["E(3)"] > 1e-3


def test_sampled_training_draws_from_the_key(data, keys):
    losses = {}
    for name in ("averaged", "sampled"):
        task = make(data, **MODELS[name])
        params = generic(task, jax.random.key(3))
        batch = {key: jnp.asarray(value[:6]) for key, value in task.splits["train"].items()}
        loss = jax.jit(task.loss)
        losses[name] = {float(loss(params, batch, jax.random.key(seed))) for seed in range(4)}
    assert len(losses["averaged"]) == 1
    assert len(losses["sampled"]) == 4


@pytest.mark.parametrize(
    "group,closure,count",
    [
        ("E", "signs", 8),
        ("SE", "signs", 4),
        ("E", "permutations", 48),
        ("SE", "permutations", 24),
        ("E", "icosahedral", 120),
        ("SO", "icosahedral", 60),
    ],
)
def test_closures_have_their_elements(keys, group, closure, count):
    model = NBodyConfig(
        task="nbody",
        run="unused",
        model={"frame": "pca", "group": group, "closure": closure},
        train={"epochs": 1},
    ).model
    frame = frame_of(model)(jax.random.normal(next(keys), (5, 3)))
    assert frame.weights.shape == (count,)
    distance = np.abs(frame.elements.linear[:, None] - frame.elements.linear[None]).max((2, 3))
    assert (distance < 1e-6).sum() == count, "every element once"


def test_report_draws_predictions_and_frames(data, keys, tmp_path):
    for name, count in (("averaged", 2), ("alone", 1)):
        task = make(data, **MODELS[name])
        folder = tmp_path / name
        folder.mkdir()
        pictures = task.report(task.init(next(keys)), folder)
        assert len(pictures) == count
        assert all(path.stat().st_size > 10_000 for _, path in pictures)


def test_untrained_networks_move_freely(data, keys):
    task = make(data, **MODELS["alone"])
    batch = {key: jnp.asarray(value) for key, value in task.splits["test"].items()}
    free = batch["position"] + batch["velocity"]
    np.testing.assert_allclose(task.predict(task.init(next(keys)), batch), free, atol=1e-5)
    law = {"group": sf.euclidean(3), "key": next(keys), **ACTIONS}
    network = task.network(generic(task, next(keys)))
    inputs = [batch[name][0] for name in ("position", "velocity", "charge")]
    assert equivariance_error(network, *inputs, **law) > 1e-3
