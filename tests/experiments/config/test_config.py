"""What a configuration file may say, and what is said about one that says something else."""

import pytest

from experiments.config import Config
from experiments.config.explain import list_keys
from experiments.config.load import dump_config, load_config
from experiments.errors import UsageError
from experiments.tasks.digits.config import DigitsConfig
from experiments.tasks.nbody.config import NBodyConfig
from experiments.tasks.registry import TASKS, task_entry
from tests.helpers.paths import CONFIGS

BASE = "task: nbody\ntrain:\n  epochs: 3\n"
DIGITS = "task: digits\ntrain:\n  epochs: 3\n"
FILES = sorted(CONFIGS.glob("*.yaml"))


@pytest.fixture
def load(tmp_path):
    """Loads a text as a file, with overrides."""

    def load(text: str | bytes, *overrides: str) -> Config:
        path = tmp_path / "case.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return load_config(path, overrides)

    return load


@pytest.fixture
def mistakes(load):
    """The lines of the message about a text that is wrong."""

    def mistakes(text: str | bytes, *overrides: str) -> list[str]:
        with pytest.raises(UsageError) as caught:
            load(text, *overrides)
        return str(caught.value).splitlines()

    return mistakes


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
        "received 3.0; allowed: a whole number at least 1 (write 3)"
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
        ("zzz=3", "zzz", ["unknown key; allowed here: task, run, data, model, train"]),
        ("task=nbdy", "task", ["received 'nbdy'", "'nbody'", "did you mean 'nbody'?"]),
        ("model.backbone=gcn", "model.backbone", ["'gcn'", "'egnn'", "did you mean 'gnn'?"]),
        ("model.frame=no", "model.frame", ["received False", "'none', 'pca'", "quote a text"]),
        ("model.frame=off", "model.frame", ["received False", "YAML reads no, off"]),
        ("model.frame=~", "model.frame", ["received None", "write none"]),
        ("model.group=3", "model.group", ["received 3", "'T', 'O', 'SO', 'E', 'SE'"]),
        ("model={}", None, []),
        ("model=3", "model", ["received 3", "a section with the keys backbone"]),
        ("train.learning_rate=1e-3", "train.learning_rate", ["'1e-3'", "write 1.0e-3"]),
        ("train.learning_rate=2.5e-4", None, []),
        ("train.learning_rate=25e-5", "train.learning_rate", ["write 2.5e-4"]),
        ("train.learning_rate='fast'", "train.learning_rate", ["'fast'", "a number above 0"]),
        ("train.learning_rate=yes", "train.learning_rate", ["received True", "a number above 0"]),
        ("train.learning_rate=.nan", "train.learning_rate", ["received nan"]),
        ("train.learning_rate=.inf", "train.learning_rate", ["received inf"]),
        ("train.learning_rate=0", "train.learning_rate", ["received 0", "above 0"]),
        ("train.weight_decay=-1", "train.weight_decay", ["received -1", "at least 0"]),
        ("train.epochs=1e3", "train.epochs", ["'1e3'", "write 1000"]),
        ("train.epochs=true", "train.epochs", ["received True", "a whole number"]),
        ("train.epochs=", "train.epochs", ["received None", "a whole number at least 1"]),
        ("train.epochs=0", "train.epochs", ["received 0", "at least 1"]),
        ("train.batch_size='10'", "train.batch_size", ["'10'", "write 10"]),
        ("train.ema=1", "train.ema", ["received 1", "above 0 and below 1, or null"]),
        ("train.ema=null", None, []),
        ("train.clip_norm=0.0", "train.clip_norm", ["received 0.0", "above 0, or null"]),
        ("train.loss=l2", "train.loss", ["received 'l2'", "'l1', 'mse'"]),
        ("train.seeds=[]", "train.seeds", ["received []", "at least one"]),
        ("train.seeds=1", "train.seeds", ["received 1", "a list"]),
        ("train.seeds=[0, a]", "train.seeds.1", ["received 'a'", "a whole number"]),
        ("train.seeds=[0, 0.5]", "train.seeds.1", ["received 0.5"]),
        ("train.seeds=[-1]", "train.seeds.0", ["received -1", "at least 0"]),
        ("train.seeds=[3, 3]", "train.seeds", ["received [3, 3]", "distinct"]),
        ("data.path='3'", None, []),
        ("run=", "run", ["received None", "a text"]),
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


@pytest.mark.parametrize(
    ("overrides", "key", "words"),
    [
        (["train.batch_size=4000"], "train.batch_size", ["4000", "at most data.num_train", "3000"]),
        (["train.warmup_steps=90"], "train.warmup_steps", ["90", "fewer than the 90 steps"]),
        (["train.evaluate_every=2"], "train.epochs", ["received 3", "multiple of evaluate_every"]),
        (
            ["train.epochs=4", "train.evaluate_every=2", "train.checkpoint_every=3"],
            "train.checkpoint_every",
            ["received 3", "multiple of evaluate_every, which is 2"],
        ),
        (["model.training_average=sampled"], "model.training_average", ["frame 'none'", "'full'"]),
        (["model.closure=permutations"], "model.closure", ["frame 'none'", "nothing to close"]),
        (["model.backbone=layerwise_gnn", "model.group=O"], "model.group", ["'E', 'SE'"]),
        (["model.num_samples=2"], "model.num_samples", ["received 2", "training_average 'full'"]),
        (["model.frame=pca", "model.backbone=egnn"], "model.frame", ["'pca'", "backbone 'egnn'"]),
        (
            ["model.frame=pca", "model.augmentation=rotations"],
            "model.augmentation",
            ["'rotations'", "frame 'pca'", "frame 'none'"],
        ),
        (
            ["model.frame=pca", "model.group=T", "model.closure=permutations"],
            "model.closure",
            ["'permutations'", "group 'T'"],
        ),
    ],
)
def test_values_that_do_not_go_together(mistakes, overrides, key, words):
    lines = [line for line in mistakes(BASE, *overrides) if f": {key}: " in line]
    assert len(lines) == 1
    assert all(word in lines[0] for word in words), lines


@pytest.mark.parametrize(
    "overrides",
    [
        ["model.frame=pca", "model.training_average=sampled", "model.num_samples=2"],
        ["model.frame=pca", "model.closure=icosahedral"],
        ["model.augmentation=rotations"],
        ["train.batch_size=3000", "train.warmup_steps=2"],
        ["train.epochs=4", "train.evaluate_every=2", "train.checkpoint_every=4"],
    ],
)
def test_values_that_go_together(load, overrides):
    load(BASE, *overrides)


def test_all_mistakes_are_listed_with_where_they_stand(mistakes, tmp_path):
    lines = mistakes(
        "task: nbody\nmodel: {frame: pac}\ndata: {num_trian: 3}\ntrain: {epochs: 3, loss: l2}\n",
        "train.epochs=zero",
        "model.hidden=0",
    )
    path = tmp_path / "case.yaml"
    assert {line.rsplit(": received")[0].split(": unknown")[0] for line in lines} == {
        f"{path}: model.frame",
        f"{path}: data.num_trian",
        f"{path}: train.loss",
        "command line: train.epochs",
        "command line: model.hidden",
    }


def test_missing_keys_are_named(mistakes):
    (line,) = mistakes("task: nbody\nmodel: {hidden: 3}\n")
    assert "train: missing; required: a section with the keys" in line
    assert "train.epochs: missing" in mistakes("task: nbody\ntrain: {loss: l1}\n")[0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["is empty", "a mapping of keys"]),
        ("# only words\n", ["is empty"]),
        ("- a\n- b\n", ["received a list", "a mapping of keys"]),
        ("nbody", ["received a str"]),
        ("task: nbody\ntask: nbody\n", ["line 2, column 1", "'task' stands twice"]),
        (BASE + "  epochs: 4\n", ["line 4, column 3", "'epochs' stands twice"]),
        ("task: nbody\ntrain:\n\tepochs: 3\n", ["line 3, column 1", "a tab; allowed: spaces"]),
        ("task: [nbody", ["line 1", "expected ',' or ']'"]),
        ("task: 'nbody", ["line 1"]),
        ("task: *other", ["line 1", "undefined alias"]),
        ("task: !!python/object/apply:os.getcwd []", ["line 1", "os.getcwd"]),
        ("? [a, b]\n: 3\n", ["line 1", "unhashable"]),
        ("task: 2020-13-45\n", ["not YAML"]),
        ("task: \x00\n", ["not YAML"]),
        (b"task: \xff\xfe\n", ["not text in UTF-8"]),
    ],
)
def test_files_that_are_no_configuration(mistakes, text, words):
    (line,) = mistakes(text)
    assert "case.yaml" in line
    assert all(word in line for word in words), line


def test_paths_that_cannot_be_read(tmp_path):
    with pytest.raises(UsageError, match=r"nothing.yaml: no such file"):
        load_config(tmp_path / "nothing.yaml")
    with pytest.raises(UsageError, match=r"is a folder"):
        load_config(tmp_path)
    (tmp_path / "config.yaml").write_text(BASE)
    with pytest.raises(UsageError, match=r"to continue its run: .*config.yaml"):
        load_config(tmp_path)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["train.epochs"], ["received 'train.epochs'", "key=value"]),
        (["=3"], ["received '=3'"]),
        (["train..epochs=3"], ["received 'train..epochs=3'"]),
        (["--fast=3"], ["received '--fast=3'"]),
        (["task.name=3"], ["task.name", "task is not a section"]),
        (["train.epochs=["], ["command line: train.epochs"]),
        (["train.epochs=1", "train.epochs=2"], ["train.epochs: given twice"]),
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
        ("train: {epochs: 3}\n", [], ["case.yaml: task: missing; required: 'nbody', 'digits'"]),
        (
            "tsk: nbody\nmodel: {hidden: x}\n",
            [],
            ["task: missing", "did you mean it by the key 'tsk'?"],
        ),
        ("task: digts\n", [], ["case.yaml: task: received 'digts'", "did you mean 'digits'?"]),
        ("task: no\n", [], ["received False", "'nbody', 'digits'", "quote a text"]),
        ("task: [nbody]\n", [], ["received ['nbody']", "'nbody', 'digits'"]),
        ("task:\n", [], ["received None"]),
        (BASE, ["task=nbdy"], ["command line: task: received 'nbdy'", "did you mean 'nbody'?"]),
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
    assert "model.backbone: unknown key; allowed here: group, basis, width" in line
    (line,) = mistakes(BASE, "model.width=8")
    assert "model.width: unknown key; did you mean" not in line and "hidden, layers" in line
    (line,) = mistakes(DIGITS, "train.loss=mse")
    assert line.endswith("train.loss: received 'mse'; allowed: 'cross_entropy'")
    (line,) = mistakes(BASE, "train.loss=cross_entropy")
    assert "train.loss: received 'cross_entropy'; allowed: 'l1', 'mse'" in line


def test_defaults_of_digits(load):
    config = load(DIGITS)
    assert config.task == "digits" and config.train.loss == "cross_entropy"
    assert config.data.num_train + config.data.num_valid + config.data.num_test == 5000
    assert config.steps_per_epoch == 35
    assert load(dump_config(config)) == config


@pytest.mark.parametrize(
    ("overrides", "key", "words"),
    [
        (["model.group=C3"], "model.group", ["received 'C3'", "'C1', 'C2', 'C4', 'C8'"]),
        (["model.kernel_size=1"], "model.kernel_size", ["received 1", "at least 3"]),
        (["model.kernel_size=4"], "model.kernel_size", ["received 4", "no pixel at its centre"]),
        (
            ["model.group=C8", "model.basis=pixels"],
            "model.basis",
            ["'pixels' with group 'C8'", "'harmonics', or a group of C1, C2, C4, D1, D4"],
        ),
        (["model.group=D8", "model.basis=pixels"], "model.basis", ["'pixels' with group 'D8'"]),
        (
            ["model.symmetrization_group=C8"],
            "model.symmetrization_group",
            ["received 'C8' with symmetrization 'none'", "leave it out", "'group', 'canonical'"],
        ),
        (
            ["model.symmetrization=group", "model.symmetrization_group=C1"],
            "model.symmetrization_group",
            ["more than the identity"],
        ),
        (
            ["model.training_average=sampled"],
            "model.training_average",
            ["symmetrization 'none'", "'full', or symmetrization 'group'"],
        ),
        (
            ["model.training_average=sampled", "model.symmetrization=canonical"],
            "model.training_average",
            ["symmetrization 'canonical'", "draws nothing"],
        ),
        (
            ["model.canonicalization=soft", "model.symmetrization=group"],
            "model.canonicalization",
            ["received 'soft' with symmetrization 'group'", "or symmetrization 'canonical'"],
        ),
        (["model.prior_weight=0.1"], "model.prior_weight", ["0.1 with symmetrization 'none'"]),
        (
            ["model.prior_weight=0.1", "model.symmetrization=canonical"],
            "model.prior_weight",
            ["received 0.1 with data.rotation 'uniform'", "or data.rotation 'none'"],
        ),
        (["model.score_width=8"], "model.score_width", ["received 8 with symmetrization 'none'"]),
        (
            ["model.pretrained=runs/x", "model.symmetrization=group"],
            "model.pretrained",
            ["received 'runs/x' with symmetrization 'group'", "or symmetrization 'canonical'"],
        ),
        (["model.pretrained=3"], "model.pretrained", ["received '3' with symmetrization 'none'"]),
        (["model.prior_weight=-1"], "model.prior_weight", ["received -1", "at least 0"]),
        (["data.rotation=no"], "data.rotation", ["received False", "'none', 'uniform'"]),
        (["train.batch_size=4000"], "train.batch_size", ["at most data.num_train", "3500"]),
    ],
)
def test_digits_that_do_not_go_together_make_one_line(mistakes, overrides, key, words):
    (line,) = mistakes(DIGITS, *overrides)
    assert line.startswith(f"command line: {key}: ")
    assert all(word in line for word in words), line


def test_all_conflicts_of_digits_are_listed(mistakes):
    wrong = ["group=C16", "basis=pixels", "kernel_size=4", "prior_weight=1", "score_width=2"]
    lines = mistakes(DIGITS, *(f"model.{each}" for each in wrong))
    keys = [line.split(": ")[1] for line in lines]
    assert keys == [
        f"model.{name}" for name in ("basis", "kernel_size", "prior_weight", "score_width")
    ]


@pytest.mark.parametrize(
    ("overrides", "description"),
    [
        ([], "plain CNN"),
        (["group=C16", "basis=harmonics"], "C16 group CNN, kernels of harmonics"),
        (["group=D4", "basis=pixels"], "D4 group CNN, kernels of pixels"),
        (["augmentation=rotations"], "plain CNN, augmented by rotations"),
        (
            ["symmetrization=group", "symmetrization_group=D4", "training_average=sampled"],
            "plain CNN, averaged over D4, sampled in training",
        ),
        (
            [
                "symmetrization=canonical",
                "symmetrization_group=C8",
                "prior_weight=0.1",
                "augmentation=rotations",
            ],
            "plain CNN, canonicalized over C8, straight through, prior 0.1, augmented by rotations",
        ),
        (
            ["symmetrization=canonical", "pretrained=runs/upright"],
            "pretrained plain CNN, canonicalized over C4, straight through",
        ),
    ],
)
def test_digits_that_go_together_are_described(load, overrides, description):
    # A prior is for upright digits.
    config = load(DIGITS, "data.rotation=none", *(f"model.{each}" for each in overrides))
    assert config.model.description == description
    assert load(dump_config(config)) == config


@pytest.mark.parametrize("name", ["set #2.xyz", "a: b.xyz", "2024", "[x].xyz", "no"])
def test_the_name_of_a_file_is_taken_as_it_is(load, name):
    assert load(BASE, f"data.path={name}").data.path == name
    assert load(BASE, "data.path=null").data.path is None
    assert load(BASE, "data.path='null'").data.path == "null"


def test_a_number_in_a_configuration_is_no_name_of_a_file(mistakes):
    (line,) = mistakes(BASE + "data: {path: 3}\n")
    assert "data.path: received 3; allowed: a text, or null" in line
