"""Training on a mesh: the same numbers on any number of devices, and one exchange a step."""

import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

from experiments.config.sections import MeshConfig
from experiments.errors import InterruptedRunError, UsageError
from experiments.results.evaluate import measure
from experiments.runs.folder import RunFolder
from experiments.tasks.digits.config import DigitsConfig
from experiments.tasks.digits.task import Digits
from experiments.tasks.nbody.config import NBodyConfig
from experiments.tasks.nbody.task import NBody
from experiments.training.mesh import OF_EXAMPLES, make_mesh, on_devices
from experiments.training.progress import TrainingProgress
from experiments.training.train import train
from tests.experiments.tasks.digits.conftest import two_convolutions
from tests.helpers.bodies import write_bodies
from tests.helpers.device_programs import alike, exchanges, outcome, programs, run


@pytest.fixture(scope="module")
def bodies(tmp_path_factory):
    """A file of twelve systems a split."""
    return write_bodies(tmp_path_factory.mktemp("data") / "bodies.npz", 12)


def nbody(bodies, run="unused", model=None, mesh=None, **train):
    return NBodyConfig(
        task="nbody",
        run=str(run),
        data={"path": str(bodies), "num_train": 12, "num_valid": 12, "num_test": 12},
        model={"hidden": 4, "layers": 1}
        | (model or {"frame": "pca", "training_average": "sampled"}),
        train={"epochs": 2, "batch_size": 6, "loss": "l1", "ema": 0.9, "evaluation_batch_size": 5}
        | {"seeds": (0, 1)}
        | train,
        mesh=mesh or {},
    )


@pytest.fixture(scope="module")
def alone(bodies):
    """The outcome on one device."""
    config = nbody(bodies, mesh={"data": 1})
    return outcome(config, NBody(config))


@pytest.mark.parametrize("devices", [2, 4, 8])
def test_bodies_move_alike_on_any_number_of_devices(bodies, alone, devices):
    # Eight devices leave two of them with examples that do not count.
    config = nbody(bodies, mesh={"data": devices})
    numbers, steps, validate = outcome(config, NBody(config))
    assert alike(numbers, alone[0], 1e-5)
    # One sum of the gradients of both seeds, with their losses, and nothing else.
    parameters = numbers[0].vector.shape[1]
    assert exchanges(steps) == [("all-reduce", f"f32[2,{parameters + 1}]")]
    assert {kind for kind, _ in exchanges(validate)} == {"all-reduce"}


def test_the_comparison_sees_another_draw(bodies, alone):
    numbers, steps, validate = alone
    config = nbody(bodies, mesh={"data": 1}, seeds=(0, 2))
    _, *inputs = programs(config, NBody(config))
    assert not alike(run(steps, validate, *inputs), numbers, 1e-5)


def test_the_count_sees_examples_that_are_gathered():
    mesh = make_mesh(MeshConfig(data=2))
    split = on_devices(np.arange(8.0), mesh, OF_EXAMPLES)
    program = jax.jit(lambda x: jnp.cumsum(x[::-1])).lower(split).compile()
    assert exchanges(program)


def test_devices_share_the_elements_of_a_large_frame(bodies):
    # 342 elements of the quadrature and their mirror images.
    model = {"frame": "quadrature", "quadrature_degree": 9, "training_average": "sampled"}
    found = {}
    for devices in (1, 8):
        config = nbody(bodies, model=model, mesh={"data": 1, "frame": devices}, seeds=(0,))
        _, validation = (made := programs(config, NBody(config)))[0]
        found[devices] = validation.lower(made[1], made[3]).compile()
    work = {devices: program.cost_analysis()["flops"] for devices, program in found.items()}
    # Each evaluates an eighth; 684 is no multiple of 8, and frames are made on every device.
    assert work[1] / 8 < work[8] < 1.1 * work[1] / 8
    assert {kind for kind, _ in exchanges(found[8])} == {"all-reduce"}


def test_digits_are_learnt_alike_on_two_devices(tmp_path):
    counts = {"num_train": 12, "num_valid": 9, "num_test": 9}
    found = []
    for devices in (1, 2):
        config = DigitsConfig(
            task="digits",
            run="unused",
            data={"cache": str(tmp_path)} | counts,
            model={"width": 2, "group": "C4"},
            train={"epochs": 2, "batch_size": 5, "seeds": (0,), "evaluation_batch_size": 4},
            mesh={"data": devices},
        )
        with two_convolutions():
            found.append(outcome(config, Digits(config)))
    (one, *_), (two, steps, _) = found
    assert alike(two, one, 1e-4)
    assert [kind for kind, _ in exchanges(steps)] == ["all-reduce"] * len(exchanges(steps))


def test_a_run_goes_on_bit_for_bit_and_is_evaluated_on_its_mesh(bodies, tmp_path, monkeypatch):
    # Random as well, and without a frame to compile.
    model = {"augmentation": "rotations"}

    def trained(name, stop=None):
        config = nbody(bodies, tmp_path / name, model, {"data": 2}, steps_per_dispatch=1)
        folder, task = RunFolder(config.run), NBody(config)
        with folder.training(config):
            if stop is not None:
                with monkeypatch.context() as patch, pytest.raises(InterruptedRunError):
                    patch.setattr(TrainingProgress, "dispatched", stop)
                    train(config, folder, task, Console(quiet=True))
            state = train(config, folder, task, Console(quiet=True))
        return config, task, state

    def stop(self, step, loss):
        if step == 1:
            os.kill(os.getpid(), signal.SIGINT)

    config, task, state = trained("whole")
    _, _, again = trained("stopped", stop)
    jax.tree.map(np.testing.assert_array_equal, again, state)
    # Errors of symmetry are measured on one device, and take longest to compile.
    monkeypatch.setattr(task, "equivariance", lambda *unused: {})
    elsewhere = config.model_copy(update={"mesh": MeshConfig(data=1)})
    one, two = (measure(config, task, state)["test"]["mse"] for config in (elsewhere, config))
    np.testing.assert_allclose(two, one, rtol=1e-5)


@pytest.mark.parametrize(
    ("mesh", "told"),
    [
        ({"data": 16}, "data 16 times frame 1; JAX_NUM_CPU_DEVICES=N"),
        ({"data": 4, "frame": 4}, "at most as many places .* 8 devices of cpu, got data 4 times"),
        (
            {"frame": 3},
            r"mesh.frame must divide the 8 devices of cpu: one of \[1, 2, 4, 8\], got 3",
        ),
    ],
)
def test_a_mesh_that_does_not_fit_the_devices_is_refused(mesh, told):
    with pytest.raises(UsageError, match=told):
        make_mesh(MeshConfig(**mesh))
    assert make_mesh(MeshConfig(data=1)) is None
    assert make_mesh(MeshConfig(frame=2)).shape == {"data": 4, "frame": 2}
