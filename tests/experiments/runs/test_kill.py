"""A run that is killed and started again is the run that was never killed, bit for bit."""

import random
import shutil
import signal
import time
from pathlib import Path

import pytest

from tests.helpers.runs import result
from tests.helpers.toy_task.process import Training

# More than a handful of validations, so that kills find the run at different places.
EPOCHS = "train.epochs=24"


def finish(folder: Path, *overrides: str) -> None:
    training = Training(folder, EPOCHS, *overrides)
    assert training.wait() == 0, training.output


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A run that was never stopped."""
    folder = tmp_path_factory.mktemp("whole")
    finish(folder)
    return folder


def test_the_comparison_sees_a_difference(whole, tmp_path_factory):
    folder = tmp_path_factory.mktemp("other")
    finish(folder, "train.seeds=[3, 6]")
    records, arrays = result(folder)
    expected_records, expected = result(whole)
    assert len(records) == len(expected_records) == 12
    assert records != expected_records
    assert arrays["params.first"] != expected["params.first"]
    # The first of the two seeds is the same in both.
    half = len(expected["params.first"]) // 2
    assert arrays["params.first"][:half] == expected["params.first"][:half]


def test_killed_anywhere_it_continues_bit_for_bit(whole, tmp_path_factory):
    folder = tmp_path_factory.mktemp("killed")
    draws = random.Random(0)
    died = 0
    plans = [f"save {count} {draws.uniform(0, 0.06):.4f}" for count in (1, 1, 2, 3)]
    plans += [f"metrics {draws.randint(1, 3)} {draws.uniform(0, 0.02):.4f}" for _ in range(2)]
    for plan in plans:
        training = Training(folder, EPOCHS, kill=plan)
        assert training.wait() in (0, -signal.SIGKILL), training.output
        died += training.wait() == -signal.SIGKILL
    assert died >= 3
    finish(folder)
    assert result(folder) == result(whole)


def test_killed_from_outside_it_continues_bit_for_bit(whole, tmp_path_factory):
    folder = tmp_path_factory.mktemp("outside")
    draws = random.Random(1)
    metrics = folder / "run" / "metrics.jsonl"
    for _ in range(2):
        training = Training(folder, EPOCHS)
        before = metrics.read_text() if metrics.exists() else ""
        deadline = time.monotonic() + 60
        while training.running and time.monotonic() < deadline:
            if metrics.exists() and len(metrics.read_text()) > len(before):
                break
            time.sleep(0.005)
        time.sleep(draws.uniform(0, 0.1))
        training.signal(signal.SIGKILL)
        training.wait()
    finish(folder)
    assert result(folder) == result(whole)


def test_metrics_left_over_would_show(whole, tmp_path_factory):
    """Going on without deleting the metrics after the checkpoint would repeat them."""
    folder = tmp_path_factory.mktemp("leftover")
    shutil.copytree(whole / "run", folder / "run")
    checkpoints = folder / "run" / "checkpoints"
    newest = max(path for path in checkpoints.iterdir() if path.is_dir())
    shutil.rmtree(newest)
    newest.with_suffix(".json").unlink()
    (folder / "run" / "evaluation.json").unlink()
    with (folder / "run" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 99999, "half a li')
    config = folder / "run" / "config.yaml"
    config.write_text(config.read_text().replace(str(whole), str(folder)))
    finish(folder)
    assert result(folder) == result(whole)


def test_a_polite_signal_saves_and_says_how_to_go_on(whole, tmp_path_factory):
    folder = tmp_path_factory.mktemp("polite")
    for number in (signal.SIGINT, signal.SIGTERM):
        training = Training(folder, EPOCHS)
        while training.running and "\nstep " not in training.output:
            time.sleep(0.005)
        training.signal(number)
        assert training.wait() == 130, training.output
        output = training.output
        assert "is saved; to continue: python -m experiments train" in output
        assert "Traceback" not in output
    finish(folder)
    assert result(folder) == result(whole)
