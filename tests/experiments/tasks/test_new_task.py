"""A task is added by one package, one line in the registry and one YAML file."""

import json
import signal

import pytest

from experiments.commands.main import main
from experiments.tasks.registry import TASKS
from tests.helpers import toy_task
from tests.helpers.runs import result
from tests.helpers.toy_task import config as toy_config
from tests.helpers.toy_task.process import Training


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "toy.yaml"
    path.write_text(toy_config.TEXT.format(run=tmp_path / "run"))
    return path


def test_every_command_knows_a_new_task(config, with_toy, capsys, tmp_path):
    training = Training(tmp_path, kill="save 2 0.0")
    assert training.wait() == -signal.SIGKILL, training.output
    run = tmp_path / "run"
    assert (run / "checkpoints").is_dir() and not (run / "report.md").exists()
    assert main(["train", str(config)]) == 0
    assert "continuing at step" in capsys.readouterr().out
    whole = tmp_path / "whole"
    assert main(["train", str(config), f"run={whole}"]) == 0
    records, arrays = result(tmp_path)
    (tmp_path / "other").mkdir()
    whole.rename(tmp_path / "other" / "run")
    assert result(tmp_path / "other") == (records, arrays)

    assert main(["evaluate", str(run)]) == 0
    stored = json.loads((run / "evaluation.json").read_text())
    assert stored["metric"] == "mse" and stored["step"] == stored["steps"]
    assert "profile" not in stored and "committee" not in stored
    assert main(["report", str(run), str(tmp_path / "other" / "run")]) == 0
    assert "Task `toy`" in (run / "report.md").read_text()
    capsys.readouterr()
    assert main(["audit", str(run)]) == 0
    # The toy has no symmetry, and the audit sees it.
    assert "measures break a law of E" in capsys.readouterr().out


def test_without_the_line_in_the_registry_no_command_knows_it(config, capsys, monkeypatch):
    monkeypatch.delitem(TASKS, toy_task.NAME, raising=False)
    assert main(["train", str(config)]) == 2
    assert "task: must be" in capsys.readouterr().err
