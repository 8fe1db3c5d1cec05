"""The command line, from a mistake in it to a finished report."""

import json
import statistics
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from experiments.commands.main import main
from experiments.config.load import load_config
from experiments.training.metrics import cut, mean_metrics
from tests.helpers import toy_task
from tests.helpers.paths import ROOT
from tests.helpers.toy_task import config as toy_config
from tests.helpers.toy_task.task import Toy

pytestmark = pytest.mark.usefixtures("with_toy")


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    path = folder / "toy.yaml"
    path.write_text(toy_config.TEXT.format(run=folder / "runs" / "toy"))
    return path


@pytest.fixture(scope="module")
def trained(config) -> Path:
    """The folder of a finished run."""
    assert main(["train", str(config)]) == 0
    return config.parent / "runs" / "toy"


def test_training_ends_with_the_table_and_the_report(config, capsys):
    run = config.parent / "runs" / "other"
    overrides = [f"run={run}", "train.seeds=[1]", "train.epochs=2"]
    assert main(["train", str(config), *overrides]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "32 parameters, 1 seeds, 12 steps" in lines[0]
    assert lines[1].startswith("step 12/12  epoch 2  loss ")
    assert lines[2].split("  ")[0] == "seed"
    assert lines[3].startswith("1 ")
    assert lines[-1] == f"report: {run / 'report.md'}"
    assert main(["train", str(config), *overrides]) == 0
    assert "is finished; nothing to do" in capsys.readouterr().out


def test_evaluation_is_that_of_the_best_weights(trained, config, capsys):
    before = json.loads((trained / "evaluation.json").read_text())
    assert main(["evaluate", str(trained)]) == 0
    output = capsys.readouterr().out
    result = json.loads((trained / "evaluation.json").read_text())
    assert result == before
    assert result["seeds"] == [3, 5] and result["step"] == result["steps"] == 48
    assert result["parameters"] == 32
    for name in ("mse", "mae"):
        assert result["mean"][name] == pytest.approx(statistics.fmean(result["test"][name]))
        low, high = sorted(result["test"][name])
        # Of two numbers, the sample deviation is their distance over the root of two.
        assert result["deviation"][name] == pytest.approx((high - low) / 2**0.5)
    assert len(result["equivariance"]["reversal"]) == 2
    assert f"{result['mean']['mse']:.4g}" in output

    from experiments.runs.folder import RunFolder
    from experiments.runs.restore import load_state

    settings = load_config(trained / "config.yaml")
    task = Toy(settings)
    state = load_state(settings, RunFolder(trained), task)
    chunks = cut(task.splits["test"], 100)
    for place in range(2):
        params = jax.tree.map(lambda leaf, place=place: leaf[place], state.best)
        mse = mean_metrics(task, params, chunks)["mse"]
        np.testing.assert_allclose(mse, result["test"]["mse"][place], rtol=1e-5)


def test_a_report_compares_runs(trained, config, capsys):
    other = config.parent / "runs" / "wider"
    assert main(["train", str(config), f"run={other}", "model.hidden=16"]) == 0
    (other / "evaluation.json").unlink()
    assert main(["report", str(trained), str(other)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"report: {trained / 'report.md'}"
    page = (trained / "report.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| ")]
    assert rows[0].startswith("| run | model | parameters | seeds | test mse | reversal error |")
    assert rows[2].startswith("| toy | toy | 32 | 2 | ")
    assert rows[3].startswith("| wider | toy | 64 | 2 | ")
    assert "±" in rows[2]
    pictures = [line.split("](")[1][:-1] for line in page.splitlines() if line.startswith("![")]
    assert len(pictures) == 2
    for picture in pictures:
        assert (trained / picture).read_bytes().startswith(b"\x89PNG")


def test_a_task_adds_its_own_pictures(trained, monkeypatch):
    def draw(self, params, folder):
        assert params["first"].shape == (3, 8)
        path = folder / "drawn.png"
        path.write_bytes(b"a picture")
        return [("What it learnt", path)]

    monkeypatch.setattr(Toy, "report", draw, raising=False)
    assert main(["report", str(trained)]) == 0
    page = (trained / "report.md").read_text()
    assert "## What it learnt\n\n![What it learnt](drawn.png)" in page


def test_an_evaluation_of_another_model_is_printed_and_not_stored(trained, capsys):
    stored = trained / "evaluation.json"
    before = stored.read_text()
    mean = json.loads(before)["mean"]["mse"]
    stored.write_text("{}")
    # The toy does not read it, so that its weights and errors stay what they are.
    assert main(["evaluate", str(trained), "model.layers=7"]) == 0
    assert f"{mean:.4g}" in capsys.readouterr().out
    assert stored.read_text() == "{}"
    stored.write_text(before)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "nothing.yaml"], "nothing.yaml: must be a YAML file"),
        (["train", "{config}", "train.epoch=3"], "did you mean train.epochs?"),
        (["train", "{config}", "model.hidden=9", "run={trained}"], "model.hidden: 8 in the folder"),
        (["train", "{trained}"], "to continue its run: "),
        (["evaluate", "x" * 300], "must be the folder of a run"),
        (["evaluate", "nowhere"], "nowhere: must be the folder of a run"),
        (["evaluate", "{parent}"], "{parent}: must be the folder of a run"),
        (["evaluate", "{trained}", "data.seed=1"], "must be a key of the section model"),
        (["evaluate", "{trained}", "model.hidden=9"], "do not fit model.hidden=9"),
        (["report", "{trained}", "nowhere"], "nowhere: must be the folder of a run"),
    ],
)
def test_mistakes_are_one_message_and_code_two(trained, config, capsys, arguments, words):
    names = {"config": config, "trained": trained, "parent": config.parent}
    assert main([argument.format(**names) for argument in arguments]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert words.format(**names) in captured.err
    assert "Traceback" not in captured.err and captured.out == ""


def test_a_run_without_checkpoints_cannot_be_evaluated(config, capsys, tmp_path):
    text = toy_config.TEXT.format(run=tmp_path)
    (tmp_path / "config.yaml").write_text(text)
    assert main(["evaluate", str(tmp_path)]) == 2
    assert "has no checkpoint yet" in capsys.readouterr().err


def test_a_task_that_cannot_be_built_is_one_message(config, capsys, monkeypatch, tmp_path):
    def broken(config):
        raise ValueError("data.path: there is no data")

    monkeypatch.setattr(toy_task, "ENTRY", toy_task.ENTRY._replace(make=broken))
    assert main(["train", str(config), f"run={tmp_path}"]) == 2
    assert capsys.readouterr().err == "error: data.path: there is no data\n"


def test_a_mesh_that_does_not_fit_is_told_before_data_are_made(
    trained, config, capsys, monkeypatch, tmp_path
):
    def made(config):
        raise ValueError("data are made")

    monkeypatch.setattr(toy_task, "ENTRY", toy_task.ENTRY._replace(make=made))
    commands = (["train", str(config), f"run={tmp_path}"], ["evaluate", str(trained)])
    for mesh, told in (("mesh.data=999", "takes them all"), ("mesh.data=1", "data are made")):
        for command in commands:
            assert main([*command, mesh]) == 2
            assert told in capsys.readouterr().err


def test_a_diverged_run_is_code_three(config, capsys, tmp_path):
    # So large a step overflows float32 at once.
    arguments = [f"run={tmp_path}", "train.learning_rate=1.0e+38", "train.warmup_steps=0"]
    assert main(["train", str(config), *arguments]) == 3
    error = capsys.readouterr().err
    assert error.startswith("error: step ") and "what to try" in error


@pytest.mark.parametrize("arguments", [[], ["fly"], ["train"], ["evaluate"], ["report"]])
def test_half_a_command_is_explained(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: python -m experiments" in capsys.readouterr().err


def test_help_lists_the_keys(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["train", "--help"])
    assert caught.value.code == 0
    output = capsys.readouterr().out
    assert "train.epochs (required)" in output and "model.frame (none)" in output


def test_a_mistake_does_not_wait_for_jax(config):
    program = (
        "import sys; from experiments.commands.main import main; "
        f"code = main(['train', {str(config)!r}, 'train.epoch=3']); "
        "print(code, 'jax' in sys.modules, 'rich' in sys.modules)"
    )
    found = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.split() == ["2", "False", "False"]
