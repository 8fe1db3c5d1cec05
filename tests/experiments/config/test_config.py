"""What a configuration file may say, and what is said about one that says something else."""

import os

import pytest

from experiments.config.explain import list_keys
from experiments.config.load import dump_config, load_config
from experiments.errors import UsageError
from experiments.tasks.digits.config import DigitsConfig
from experiments.tasks.nbody.config import NBodyConfig
from experiments.tasks.registry import TASKS, task_entry
from tests.experiments.config.conftest import BASE, DIGITS
from tests.helpers.paths import CONFIGS

FILES = sorted(CONFIGS.glob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_files_we_ship_are_valid(path):
    assert load_config(path).run == f"runs/{path.stem}"


def test_files_we_ship_are_found():
    assert len(FILES) >= 5


def test_defaults_are_those_of_the_benchmark(load):
    config = load(BASE)
    assert (config.data.num_train, config.data.num_valid, config.data.num_test) == (
        3000,
        2000,
        2000,
    )
    assert config.data.seed == 43
    assert config.train.seeds == (0, 1, 2)
    assert config.steps_per_epoch == 30
    assert config.num_steps == 90


def test_overrides_win_and_are_yaml(load):
    config = load(
        BASE,
        "train.epochs=7",
        "train.seeds=[5, 6]",
        "model.frame=pca",
        "train.clip_norm=null",
        "run=elsewhere",
    )
    assert config.train.epochs == 7
    assert config.train.seeds == (5, 6)
    assert config.model.frame == "pca"
    assert config.train.clip_norm is None
    assert config.run == "elsewhere"


def test_whole_numbers_serve_as_numbers_and_not_the_reverse(load, mistakes):
    clip = load(BASE, "train.clip_norm=1").train.clip_norm
    assert clip == 1.0 and isinstance(clip, float)
    assert (
        "must be a whole number at least 1, got 3.0 (write 3)"
        in mistakes(BASE, "train.epochs=3.0")[0]
    )


def test_stored_configuration_reads_back_the_same(load):
    config = load(BASE, "train.learning_rate=0.00001", "train.ema=0.999", "run=x")
    assert load(dump_config(config)) == config


def test_configuration_is_final(load):
    with pytest.raises(ValueError, match="frozen"):
        load(BASE).train.epochs = 5


@pytest.mark.parametrize(
    ("override", "key", "words"),
    [
        (
            "train.epoch=3",
            "train.epoch",
            ["unknown key", "did you mean train.epochs?", "batch_size"],
        ),
        ("epochs=3", "epochs", ["unknown key", "did you mean train.epochs?"]),
        ("model.num_train=3", "model.num_train", ["did you mean data.num_train?"]),
        ("zzz=3", "zzz", ["unknown key", "task, run, data, model, train"]),
        ("task=nbdy", "task", ["got 'nbdy'", "'nbody'", "did you mean 'nbody'?"]),
        ("model.backbone=gcn", "model.backbone", ["'gcn'", "'egnn'", "did you mean 'gnn'?"]),
        ("model.frame=no", "model.frame", ["got False", "'none', 'pca'", "quote a text"]),
        ("model.frame=off", "model.frame", ["got False", "YAML reads no, off"]),
        ("model.frame=~", "model.frame", ["got None", "write none"]),
        ("model.group=3", "model.group", ["got 3", "'T', 'O', 'SO', 'E' or 'SE'"]),
        ("model={}", None, []),
        ("model=3", "model", ["got 3", "a section with the keys", "backbone"]),
        ("train.learning_rate=1e-3", "train.learning_rate", ["'1e-3'", "write 1.0e-3"]),
        ("train.learning_rate=2.5e-4", None, []),
        ("train.learning_rate=25e-5", "train.learning_rate", ["write 2.5e-4"]),
        ("train.learning_rate='fast'", "train.learning_rate", ["'fast'", "a number above 0"]),
        ("train.learning_rate=yes", "train.learning_rate", ["got True", "a number above 0"]),
        ("train.learning_rate=.nan", "train.learning_rate", ["got nan"]),
        ("train.learning_rate=.inf", "train.learning_rate", ["got inf"]),
        ("train.learning_rate=0", "train.learning_rate", ["got 0", "above 0"]),
        ("train.weight_decay=-1", "train.weight_decay", ["got -1", "at least 0"]),
        ("train.epochs=1e3", "train.epochs", ["'1e3'", "write 1000"]),
        ("train.epochs=true", "train.epochs", ["got True", "a whole number"]),
        ("train.epochs=", "train.epochs", ["got None", "a whole number at least 1"]),
        ("train.epochs=0", "train.epochs", ["got 0", "at least 1"]),
        ("train.batch_size='10'", "train.batch_size", ["'10'", "write 10"]),
        ("train.ema=1", "train.ema", ["got 1", "above 0 and below 1, or null"]),
        ("train.ema=null", None, []),
        ("train.clip_norm=0.0", "train.clip_norm", ["got 0.0", "above 0, or null"]),
        ("train.loss=l2", "train.loss", ["got 'l2'", "'l1' or 'mse'"]),
        ("train.seeds=[]", "train.seeds", ["got []", "at least one item"]),
        ("train.seeds=1", "train.seeds", ["got 1", "a list"]),
        ("train.seeds=[0, a]", "train.seeds.1", ["got 'a'", "a whole number"]),
        ("train.seeds=[0, 0.5]", "train.seeds.1", ["got 0.5"]),
        ("train.seeds=[-1]", "train.seeds.0", ["got -1", "at least 0"]),
        ("train.seeds=[3, 3]", "train.seeds", ["got [3, 3]", "distinct"]),
        ("data.path='3'", None, []),
        ("run=", "run", ["got None", "a text"]),
    ],
)
def test_one_wrong_value_makes_one_line(load, tmp_path, override, key, words):
    if key is None:
        load(BASE, override)
        return
    with pytest.raises(UsageError) as caught:
        load(BASE, override)
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"command line: {key}: ")
    assert all(word in line for word in words), line


def test_all_mistakes_are_listed_with_where_they_stand(mistakes, tmp_path):
    lines = mistakes(
        "task: nbody\nmodel: {frame: pac}\ndata: {num_trian: 3}\ntrain: {epochs: 3, loss: l2}\n",
        "train.epochs=zero",
        "model.hidden=0",
    )
    path = tmp_path / "case.yaml"
    assert {line.split(": must")[0].split(": unknown")[0] for line in lines} == {
        f"{path}: model.frame",
        f"{path}: data.num_trian",
        f"{path}: train.loss",
        "command line: train.epochs",
        "command line: model.hidden",
    }


def test_missing_keys_are_named(mistakes):
    (line,) = mistakes("task: nbody\nmodel: {hidden: 3}\n")
    assert "train: must be a section with the keys" in line and line.endswith("got nothing")
    (line,) = mistakes("task: nbody\ntrain: {loss: l1}\n")
    assert "train.epochs: must be a whole number" in line and line.endswith("got nothing")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["a mapping of keys", "got an empty file"]),
        ("# only words\n", ["got an empty file"]),
        ("- a\n- b\n", ["got a list", "a mapping of keys"]),
        ("nbody", ["got a str"]),
        ("task: nbody\ntask: nbody\n", ["line 2, column 1", "'task' stands twice"]),
        (BASE + "  epochs: 4\n", ["line 4, column 3", "'epochs' stands twice"]),
        ("task: nbody\ntrain:\n\tepochs: 3\n", ["line 3, column 1", "spaces, got a tab"]),
        ("task: [nbody", ["line 1", "expected ',' or ']'"]),
        ("task: 'nbody", ["line 1"]),
        ("task: *other", ["line 1", "undefined alias"]),
        ("task: !!python/object/apply:os.getcwd []", ["line 1", "os.getcwd"]),
        ("? [a, b]\n: 3\n", ["line 1", "unhashable"]),
        ("task: 2020-13-45\n", ["must be YAML"]),
        ("task: \x00\n", ["must be YAML"]),
        (b"task: \xff\xfe\n", ["no text in UTF-8"]),
    ],
)
def test_files_that_are_no_configuration(mistakes, text, words):
    (line,) = mistakes(text)
    assert "case.yaml" in line
    assert all(word in line for word in words), line


def test_paths_that_cannot_be_read(tmp_path):
    with pytest.raises(UsageError, match=r"nothing.yaml: .*no such file"):
        load_config(tmp_path / "nothing.yaml")
    with pytest.raises(UsageError, match=r"got a folder"):
        load_config(tmp_path)
    (tmp_path / "config.yaml").write_text(BASE)
    with pytest.raises(UsageError, match=r"to continue its run: .*config.yaml"):
        load_config(tmp_path)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["train.epochs"], ["got 'train.epochs'", "key=value"]),
        (["=3"], ["got '=3'"]),
        (["train..epochs=3"], ["got 'train..epochs=3'"]),
        (["--fast=3"], ["got '--fast=3'"]),
        (["task.name=3"], ["task.name", "got task, which is no section"]),
        (["train.epochs=["], ["command line: train.epochs"]),
        (["train.epochs=1", "train.epochs=2"], ["train.epochs", "twice"]),
    ],
)
def test_overrides_that_are_none(mistakes, overrides, words):
    (line,) = mistakes(BASE, *overrides)
    assert line.startswith("command line: ")
    assert all(word in line for word in words), line


def test_keys_are_listed_for_help():
    keys = {key: (default, text) for key, default, text in list_keys(NBodyConfig)}
    assert keys["train.epochs"][0] == "required"
    assert keys["train.seeds"][0] == "[0, 1, 2]"
    assert "'pca'" in keys["model.frame"][1]
    for config in (task_entry(name).config for name in TASKS):
        for _, _, text in list_keys(config):
            assert text and not text.startswith("None") and "\n" not in text


@pytest.mark.parametrize(
    ("text", "overrides", "words"),
    [
        ("train: {epochs: 3}\n", [], ["case.yaml: task: must be 'nbody', 'digits'", "got nothing"]),
        (
            "tsk: nbody\nmodel: {hidden: x}\n",
            [],
            ["task: must be", "got nothing", "did you mean it by the key 'tsk'?"],
        ),
        (
            "task: digts\n",
            [],
            ["case.yaml: task: must be", "got 'digts'", "did you mean 'digits'?"],
        ),
        ("task: no\n", [], ["got False", "'nbody', 'digits'", "quote a text"]),
        ("task: [nbody]\n", [], ["got ['nbody']", "'nbody', 'digits'"]),
        ("task:\n", [], ["got None"]),
        (
            BASE,
            ["task=nbdy"],
            ["command line: task: must be", "got 'nbdy'", "did you mean 'nbody'?"],
        ),
    ],
)
def test_a_task_that_is_none_is_the_one_mistake(mistakes, text, overrides, words):
    # Which keys there are depends on the task: nothing can be said about the others.
    (line,) = mistakes(text, *overrides)
    assert all(word in line for word in words), line


def test_the_task_decides_what_may_be_said(load, mistakes):
    assert type(load(BASE)) is NBodyConfig
    assert type(load(BASE, "task=digits")) is DigitsConfig
    (line,) = mistakes(DIGITS, "model.backbone=gnn")
    assert "model.backbone: unknown key" in line and "group, basis, width" in line
    (line,) = mistakes(BASE, "model.width=8")
    assert "model.width: unknown key" in line and "hidden, layers" in line
    assert "did you mean" not in line
    (line,) = mistakes(DIGITS, "train.loss=mse")
    assert line.endswith("train.loss: must be 'cross_entropy', got 'mse'")
    (line,) = mistakes(BASE, "train.loss=cross_entropy")
    assert "train.loss: must be 'l1' or 'mse', got 'cross_entropy'" in line


def test_defaults_of_digits(load):
    config = load(DIGITS)
    assert config.task == "digits" and config.train.loss == "cross_entropy"
    assert config.data.num_train + config.data.num_valid + config.data.num_test == 5000
    assert config.steps_per_epoch == 35
    assert load(dump_config(config)) == config


@pytest.mark.parametrize("name", ["set #2.xyz", "a: b.xyz", "2024", "[x].xyz", "no"])
def test_the_name_of_a_file_is_taken_as_it_is(load, name):
    assert load(BASE, f"data.path={name}").data.path == name
    assert load(BASE, "data.path=null").data.path is None
    assert load(BASE, "data.path='null'").data.path == "null"


def test_a_number_in_a_configuration_is_no_name_of_a_file(mistakes):
    (line,) = mistakes(BASE + "data: {path: 3}\n")
    assert "data.path: must be a text, or null, got 3" in line


def test_a_pipe_and_endless_brackets_are_no_configuration(tmp_path, mistakes):
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(UsageError, match=r"pipe\.yaml: must be a YAML file"):
        load_config(tmp_path / "pipe.yaml")
    (line,) = mistakes(3000 * "[")
    assert "must be YAML" in line


def test_an_unknown_unit_hides_no_other_mistake(mistakes):
    text = (
        "task: molecules\ntrain: {epochs: 1}\n"
        "data: {kind: file, path: a.xyz, forces_unit: parsec, temperature: 300.0}\n"
    )
    unit, temperature = sorted(mistakes(text), key=lambda line: "temperature" in line)
    assert "data.forces_unit: must be one of " in unit and "'parsec'" in unit
    assert "data.temperature: must be left out" in temperature
