"""A step of training of every task: what it computes in, and that it is alone on its device."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

from experiments.precision import in_precision
from experiments.runs.folder import RunFolder
from experiments.runs.restore import load_state
from experiments.tasks.registry import task_entry
from experiments.training.optimizer import make_optimizer
from experiments.training.state import initial_state
from experiments.training.steps import take_steps
from experiments.training.train import train
from tests.experiments.tasks.digits.conftest import two_convolutions
from tests.helpers.programs import callbacks, is_exact, products, text_of

COUNTS = {"num_train": 12, "num_valid": 12, "num_test": 12}
SMALL = {"hidden": 8, "layers": 1}
SAMPLED = {"frame": "pca", "training_average": "sampled"}
LOCAL = {"frame": "local", "max_elements": 16, "vectors": 1, "training_average": "sampled"}
MODELS = {
    "nbody": ("nbody", SMALL | SAMPLED),
    "digits": ("digits", {"width": 2, "symmetrization": "group", "training_average": "sampled"}),
    "points": ("molecules", SMALL | SAMPLED | {"backbone": "point_sum"}),
    "local": ("molecules", SMALL | LOCAL | {"num_samples": 2}),
}


@pytest.fixture(scope="module", autouse=True)
def small_and_with_promotion():
    """Networks of two convolutions; and the normalisation of Flax promotes bfloat16."""
    with two_convolutions(), jax.numpy_dtype_promotion("standard"):
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """With data of moving bodies and of molecules."""
    folder, draw = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    arrays = {}
    for split in ("train", "valid", "test"):
        position, velocity = draw.normal(size=(2, 12, 5, 3)).astype(np.float32)
        arrays |= {f"position_{split}": position, f"velocity_{split}": velocity}
        arrays[f"target_{split}"] = position + 2 * velocity
        arrays[f"charge_{split}"] = np.ones((12, 5), np.float32)
    np.savez(folder / "nbody.npz", **arrays)
    corners = np.array([[0, 0, 0], [1.2, 0, 0], [0, 1.9, 0], [0, 0, 2.6], [1.2, 1.9, 0]])
    positions = corners + draw.normal(size=(36, 5, 3)) / 20
    labels = {"E": draw.normal(size=36), "F": draw.normal(size=(36, 5, 3))}
    np.savez(folder / "molecules.npz", z=[6, 8, 1, 1, 1], R=positions, **labels)
    return folder


def make(folder, kind, model, **settings):
    data = COUNTS | {"path": str(folder / f"{kind}.npz")}
    if kind == "digits":
        data = COUNTS | {"cache": str(folder)}
    if kind == "molecules":
        data["kind"] = "file"
    entry = task_entry(kind)
    values = {"task": kind, "run": str(folder / "run"), "data": data, "model": model}
    settings = {"epochs": 1, "batch_size": 6, "seeds": [0]} | settings
    config = entry.config.model_validate(values | {"train": settings, "mesh": {"data": 1}})
    return config, entry.make(config)


@functools.cache
def step(folder, name, precision):
    """A step, jitted and traced once, with the shapes of its arguments."""
    config, task = make(folder, *MODELS[name], precision=precision)
    optimizer = make_optimizer(config.train, config.num_steps)
    seed = jax.ShapeDtypeStruct((), jnp.int32)
    state = jax.eval_shape(functools.partial(initial_state, task, optimizer, False), seed)
    options = {"task": task, "optimizer": optimizer, "ema": None, "length": 1}
    function = functools.partial(take_steps, batch_size=6, **options)
    return jax.jit(function), (state, seed, dict(task.splits["train"]))


@pytest.mark.parametrize("name", MODELS)
def test_networks_alone_compute_in_bfloat16_and_only_if_asked(folder, name):
    found = {}
    for precision in ("float32", "bfloat16"):
        function, args = step(folder, name, precision)
        traced = function.trace(*args)
        state, trace = traced.out_info
        for part in (state.params, state.optimizer, trace.loss):
            assert floating(part) == {jnp.dtype(jnp.float32)}
        found[precision] = list(products(traced.jaxpr))
    half, single = jnp.dtype(jnp.bfloat16), jnp.dtype(jnp.float32)
    dtypes = lambda products: {v.aval.dtype for product in products for v in product.invars}
    assert dtypes(found["float32"]) == {single}
    # Those that move vectors are exact, and no others.
    moving = [product for product in found["bfloat16"] if is_exact(product)]
    network = [product for product in found["bfloat16"] if not is_exact(product)]
    assert dtypes(network) == {half} and dtypes(moving) <= {half, single}
    if name == "local":
        assert dtypes(moving) == {single}
        assert all(3 in v.aval.shape for product in moving for v in product.invars)
    assert not any(is_turn(product) for product in network)


def floating(tree):
    """The floating dtypes of a tree."""
    return {leaf.dtype for leaf in jax.tree.leaves(tree) if leaf.dtype.kind in "fV"}


def is_turn(product):
    """Whether a product sums over three components of vectors."""
    if product.primitive.name != "dot_general":
        return False
    (summed, _), _ = product.params["dimension_numbers"]
    return 3 in [product.invars[0].aval.shape[axis] for axis in summed]


@pytest.mark.parametrize("name", ["nbody", "digits", "local"])
def test_a_step_is_lowered_for_every_platform_without_callbacks(folder, name):
    function, args = step(folder, name, "float32")
    assert callbacks(text_of(function, *args)) == []


def test_a_run_in_bfloat16_learns_and_is_taken_up(folder):
    settings = {"precision": "bfloat16", "epochs": 20, "learning_rate": 0.1, "loss": "mse"}
    config, task = make(folder, "nbody", {"backbone": "linear"}, **settings)
    place = RunFolder(config.run)
    with place.training(config):
        train(config, place, task, Console(quiet=True))
    records = place.read_metrics()
    assert records[-1]["loss"][0] < 0.3 * records[0]["loss"][0]
    state = load_state(place.load_config(), place, task)
    assert {leaf.dtype for leaf in jax.tree.leaves(state.params)} == {jnp.dtype(jnp.float32)}
    # Another precision is another run.
    assert place.load_config().train.precision == "bfloat16"


def test_a_network_is_rounded_and_its_gradient_is_not():
    network_of = lambda params: lambda x, index: (x * params, index)
    inputs, params = jnp.asarray([1 + 2**-10], jnp.float32), jnp.float32(1 + 2**-11)

    def value(params, precision):
        out, index = in_precision(precision, network_of, params)(inputs, jnp.int32(3))
        assert out.dtype == jnp.float32 and index.dtype == jnp.int32
        return out[0]

    assert value(params, "float32") > value(params, "bfloat16") == 1
    assert jax.grad(value)(params, "bfloat16").dtype == jnp.float32
