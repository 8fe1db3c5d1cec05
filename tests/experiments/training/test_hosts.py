"""Several processes that train one run: the same result, and a clear end if one of them is lost."""

import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from experiments.errors import UsageError
from experiments.training.hosts import Launch, find_launch
from tests.helpers.ports import free_port
from tests.helpers.runs import result
from tests.helpers.toy_task.process import Training

SETTINGS = ("mesh.data=null", "train.steps_per_dispatch=2")


def start(folder, count, *overrides, of=lambda index: ()):
    """Starts processes that train the toy together; `of` gives overrides of one of them."""
    address = ["--coordinator", f"localhost:{free_port()}", "--processes", str(count)]
    options = [*SETTINGS, *(overrides or ["train.epochs=24"])] + (address if count > 1 else [])
    return [
        Training(
            folder,
            *of(index),
            *options,
            *(["--process", str(index)] if count > 1 else []),
            log=f"log{index}",
        )
        for index in range(count)
    ]


def ends(processes):
    return [process.wait() for process in processes]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """What one process ends with."""
    folder = tmp_path_factory.mktemp("alone")
    (process,) = start(folder, 1)
    assert process.wait() == 0, process.output
    return numbers(folder)


def numbers(folder):
    """The metrics of a run, and its weights."""
    records, arrays = result(folder)
    valid = [record["valid"]["mse"] for record in records]
    return np.array(valid), np.frombuffer(arrays["average.first"], np.float32)


def same(one, other):
    return all(
        a.shape == b.shape and np.allclose(a, b, rtol=1e-4, atol=1e-5)
        for a, b in zip(one, other, strict=True)
    )


@pytest.mark.parametrize(("victim", "then"), [(1, 4), (0, 1)])
def test_when_one_is_killed_the_others_end_and_any_number_goes_on(alone, tmp_path, victim, then):
    processes = start(tmp_path, 2)
    metrics = tmp_path / "run" / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and processes[victim].running:
        if metrics.exists() and metrics.read_text().count("\n") > 1:
            break
        time.sleep(0.005)
    processes[victim].signal(signal.SIGKILL)
    killed = time.monotonic()
    survivor = processes[1 - victim]
    codes = ends(processes)
    assert time.monotonic() - killed < 60
    assert codes[victim] == -signal.SIGKILL and codes[1 - victim] == 1, survivor.output
    assert survivor.output.count("another process of this run has ended") == 1
    assert "Traceback" not in survivor.output
    # The control: that it was killed on its way, and not after its end.
    assert metrics.read_text().count("\n") < len(alone[0])

    processes = start(tmp_path, then)
    assert ends(processes) == [0] * then, processes[0].output
    assert "continuing at step" in processes[0].output
    assert all("step" not in process.output for process in processes[1:])
    assert same(numbers(tmp_path), alone)
    assert not same(numbers(tmp_path), [1.01 * values for values in alone])


def test_all_stop_and_save_when_one_is_told_to(tmp_path):
    never = (f"train.{key}=4000" for key in ("epochs", "evaluate_every", "checkpoint_every"))
    processes = start(tmp_path, 2, *never)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and "from scratch" not in processes[0].output:
        assert processes[0].running, processes[0].output
        time.sleep(0.01)
    time.sleep(0.5)
    processes[1].signal(signal.SIGTERM)
    assert ends(processes) == [130, 130], [process.output for process in processes]
    assert "which is saved" in processes[0].output


def test_different_configurations_are_refused(tmp_path):
    processes = start(tmp_path, 2, of=lambda index: [f"train.learning_rate=0.0{index + 1}"])
    assert ends(processes) == [2, 2]
    told = "the configuration must be the same in all 2 processes, got another one in process 1"
    assert all(told in process.output for process in processes)
    assert not (tmp_path / "run").exists()


def test_a_coordinator_that_is_not_there_is_told():
    program = (
        "from experiments.training import hosts; hosts._START = 2\n"
        f"with hosts.joined(hosts.Launch('localhost:{free_port()}', 2, 1)): pass"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert found.returncode == 1
    assert "--coordinator must be where the first process of the run listens" in found.stderr
    assert len(found.stderr.splitlines()) == 1


BATCH = {"SLURM_NTASKS": "4", "SLURM_PROCID": "2"}
SLURM = BATCH | {"SLURM_STEP_NODELIST": "node[1-4]"}
MPICH = {"PMI_SIZE": "3", "PMI_RANK": "2"}
OPEN_MPI = {"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "1"}


@pytest.mark.parametrize(
    ("given", "environment", "expected"),
    [
        ((None, None, None), {}, None),
        ((None, None, None), {"SLURM_NTASKS": "1", "SLURM_PROCID": "0"}, None),
        # Of a script that may call srun, which has started no processes yet.
        ((None, None, None), BATCH, None),
        ((None, None, None), SLURM, Launch(None, None, None)),
        ((None, None, None), OPEN_MPI, Launch(None, None, None)),
        (("host:1234", None, None), OPEN_MPI, Launch("host:1234", 2, 1)),
        (("host:1234", None, None), MPICH, Launch("host:1234", 3, 2)),
        ((None, None, None), {"TPU_WORKER_HOSTNAMES": "a,b"}, Launch(None, None, None)),
        (("host:1234", 8, 3), SLURM, Launch("host:1234", 8, 3)),
        (("host:1234", 1, 0), {}, None),
        (("auto", None, None), {}, Launch(None, None, None)),
    ],
)
def test_how_processes_find_each_other(given, environment, expected):
    assert find_launch(*given, environment) == expected


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ((None, 2, 0), "--coordinator must be given with --processes"),
        (("host", 2, 0), "HOST:PORT or auto, got 'host'"),
        (("host:99999", 2, 0), "HOST:PORT or auto"),
        (("host:1", 2, None), "must be given together"),
        (("host:1", None, None), "nothing in the environment"),
        (("host:1", 2, 2), "from 0 to 1, one less than --processes, got 2"),
        (("auto", 2, 0), "left out with --coordinator auto"),
    ],
)
def test_mistakes_of_several_processes_are_told(given, told):
    with pytest.raises(UsageError, match="first of the 3 processes that PMI_SIZE tells of"):
        find_launch(None, None, None, MPICH)
    with pytest.raises(UsageError, match=told):
        find_launch(*given, {})
