"""Values of a configuration that do not go together, and words of earlier versions."""

import pytest
import yaml

from experiments.config.load import dump_config, load_config
from experiments.errors import UsageError
from experiments.runs.folder import RunFolder
from tests.experiments.config.conftest import BASE, DIGITS, MOLECULES


@pytest.mark.parametrize(
    ("overrides", "key", "words"),
    [
        (["train.batch_size=4000"], "train.batch_size", ["4000", "at most data.num_train", "3000"]),
        (["train.warmup_steps=90"], "train.warmup_steps", ["90", "fewer than the 90 steps"]),
        (["train.evaluate_every=2"], "train.epochs", ["got 3", "multiple of evaluate_every"]),
        (
            ["train.epochs=4", "train.evaluate_every=2", "train.checkpoint_every=3"],
            "train.checkpoint_every",
            ["got 3", "multiple of evaluate_every, which is 2"],
        ),
        (
            ["model.training_average=sampled"],
            "model.training_average",
            ["frame", "'pca'", "got 'sampled'"],
        ),
        (["model.closure=permutations"], "model.closure", ["frame", "'pca'", "got 'permutations'"]),
        (
            ["model.backbone=layerwise_gnn", "model.group=O"],
            "model.group",
            ["'E' or 'SE'", "got 'O'"],
        ),
        (["model.num_samples=2"], "model.num_samples", ["got 2", "training_average", "'sampled'"]),
        (
            ["model.draws=systematic"],
            "model.draws",
            ["got 'systematic'", "training_average", "'sampled'"],
        ),
        (
            ["model.frame=pca", "model.backbone=egnn"],
            "model.frame",
            ["got 'pca'", "'none'", "backbone 'egnn'"],
        ),
        (
            ["model.frame=pca", "model.augmentation=rotations"],
            "model.augmentation",
            ["got 'rotations'", "frame", "'none'"],
        ),
        (
            ["model.frame=pca", "model.group=T", "model.closure=permutations"],
            "model.closure",
            ["got 'permutations'", "group", "'SO'"],
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


@pytest.mark.parametrize(
    ("overrides", "key", "words"),
    [
        (["model.group=C3"], "model.group", ["got 'C3'", "'C1', 'C2', 'C4', 'C8'"]),
        (["model.kernel_size=1"], "model.kernel_size", ["got 1", "at least 3"]),
        (["model.kernel_size=4"], "model.kernel_size", ["got 4", "odd"]),
        (
            ["model.group=C8", "model.basis=pixels"],
            "model.basis",
            ["got 'pixels'", "group 'C8'", "'harmonics'", "'C4', 'D1' or 'D4'"],
        ),
        (["model.group=D8", "model.basis=pixels"], "model.basis", ["got 'pixels'", "group 'D8'"]),
        (
            ["model.symmetrization_group=C8"],
            "model.symmetrization_group",
            ["got 'C8'", "left out", "symmetrization is 'group' or 'canonical'"],
        ),
        (
            ["model.symmetrization=group", "model.symmetrization_group=C1"],
            "model.symmetrization_group",
            ["more than the identity", "got 'C1'"],
        ),
        (
            ["model.training_average=sampled"],
            "model.training_average",
            ["got 'sampled'", "symmetrization is 'group'"],
        ),
        (
            ["model.training_average=sampled", "model.symmetrization=canonical"],
            "model.training_average",
            ["got 'sampled'", "symmetrization is 'group'"],
        ),
        (
            ["model.canonicalization=soft", "model.symmetrization=group"],
            "model.canonicalization",
            ["got 'soft'", "symmetrization is 'canonical'"],
        ),
        (
            ["model.prior_weight=0.1"],
            "model.prior_weight",
            ["got 0.1", "symmetrization is 'canonical'"],
        ),
        (
            ["model.prior_weight=0.1", "model.symmetrization=canonical"],
            "model.prior_weight",
            ["got 0.1", "data.rotation is 'none'"],
        ),
        (["model.score_width=8"], "model.score_width", ["got 8", "symmetrization is 'canonical'"]),
        (
            ["model.pretrained=runs/x", "model.symmetrization=group"],
            "model.pretrained",
            ["got 'runs/x'", "symmetrization is 'canonical'"],
        ),
        (["model.pretrained=3"], "model.pretrained", ["got '3'", "symmetrization is 'canonical'"]),
        (["model.prior_weight=-1"], "model.prior_weight", ["got -1", "at least 0"]),
        (["data.rotation=no"], "data.rotation", ["got False", "'none' or 'uniform'"]),
        (["train.batch_size=4000"], "train.batch_size", ["at most data.num_train", "3500"]),
    ],
)
def test_digits_that_do_not_go_together_make_one_line(mistakes, overrides, key, words):
    (line,) = mistakes(DIGITS, *overrides)
    assert line.startswith(f"command line: {key}: ")
    assert all(word in line for word in words), line


def test_all_conflicts_of_digits_are_listed(mistakes):
    wrong = ["group=C16", "basis=pixels", "kernel_size=4", "prior_weight=1", "score_width=2"]
    lines = mistakes(DIGITS, *(f"model.{assignment}" for assignment in wrong))
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
    config = load(
        DIGITS, "data.rotation=none", *(f"model.{assignment}" for assignment in overrides)
    )
    assert config.model.description == description
    assert load(dump_config(config)) == config


@pytest.mark.parametrize(
    ("overrides", "key", "words"),
    [
        (["model.max_elements=8"], "model.max_elements", ["frame is 'robust'", "got 8"]),
        (["model.capacity=[5, 5]"], "model.capacity", ["frame is 'robust'", "got [5, 5]"]),
        (["model.group=SE"], "model.group", ["frame is", "got 'SE'"]),
        (["model.cutoff=4.0", "model.backbone=point_sum"], "model.cutoff", ["backbone", "got 4.0"]),
        (["model.hidden=6", "model.backbone=transformer"], "model.hidden", ["of 4", "got 6"]),
        (["model.frame=pca", "model.backbone=e3x"], "model.frame", ["'none'", "got 'pca'"]),
        (
            ["train.precision=bfloat16", "model.backbone=e3x"],
            "train.precision",
            ["'float32'", "got 'bfloat16'"],
        ),
        (["model.frame=quadrature", "model.detach=true"], "model.detach", ["frame", "got True"]),
        (["data.targets=dipole", "model.backbone=e3x"], "data.targets", ["'energy'", "scalars"]),
        (["data.targets=dipole", "train.energy_weight=1"], "train.energy_weight", ["got 1"]),
        (["data.targets=polarizability"], "data.targets", ["kind 'tblite'", "'dipole'"]),
        (["data.kind=file"], "data.path", ["kind 'file'", "got None"]),
        (["data.energy_key=E"], "data.energy_key", ["kind is 'file'", "got 'E'"]),
        (["data.kind=file", "data.path=a", "data.dipole_key=d"], "data.dipole_key", ["targets"]),
        (
            ["data.kind=file", "data.path=a", "data.length_unit=mile"],
            "data.length_unit",
            ["'mile'"],
        ),
    ],
)
def test_molecules_that_do_not_go_together_make_one_line(mistakes, overrides, key, words):
    (line,) = mistakes(MOLECULES, *overrides)
    assert f": {key}: " in line
    assert all(word in line for word in words), line


ROBUST = "model: {frame: robust, threshold: 0.5}\n"


@pytest.mark.parametrize("text", [BASE, MOLECULES], ids=["nbody", "molecules"])
def test_robust_frames_are_configured_in_the_words_of_the_library(load, mistakes, text):
    model = load(text + ROBUST, "model.capacity=[5, 6]", "model.max_elements=8").model
    assert (model.capacity, model.max_elements) == ((5, 6), 8)
    assert load(text + ROBUST).model.capacity == (12, 12)
    for capacity in ("[12]", "[12, 12, 12]", "[]", "twelve"):
        (line,) = mistakes(text + ROBUST, f"model.capacity={capacity}")
        assert line.startswith("command line: model.capacity: must be a list of 2 items"), line
    (line,) = mistakes(text + ROBUST, "model.capacity=[12, 0]")
    assert line.startswith("command line: model.capacity.1: must be a whole number at least 1")


@pytest.mark.parametrize(
    ("old", "key", "new"),
    [("capacity: 48", "capacity", "max_elements"), ("choices: 12", "choices", "capacity")],
)
def test_words_of_earlier_versions_are_refused_with_the_new_word(mistakes, old, key, new):
    (line,) = mistakes(MOLECULES + ROBUST.replace("}", f", {old}}}"))
    assert f"case.yaml: model.{key}: " in line and f"{new}" in line.split(key, 1)[1]


@pytest.fixture
def old_run(tmp_path, load):
    """The folder of a run that was stored in the words of an earlier version."""
    values = yaml.safe_load(dump_config(load(MOLECULES + ROBUST, "run=old")))
    for key in ("max_elements", "capacity"):
        del values["model"][key]
    values["model"] |= {"capacity": 20, "choices": 5}
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.yaml").write_text(yaml.safe_dump(values))
    return RunFolder(folder)


def test_stored_runs_of_earlier_versions_load(old_run, load):
    config = old_run.load_config()
    assert (config.model.max_elements, config.model.capacity) == (20, (5, 5))
    overrides = ("model.max_elements=20", "model.capacity=[5, 5]", "run=old")
    assert config == load(MOLECULES + ROBUST, *overrides)
    with old_run.training(config):
        pass
    assert load_config(old_run.config) == config, "it is stored in the new words"


def test_stored_runs_are_not_overridden_in_the_words_of_earlier_versions(old_run):
    for override, key in (("model.capacity=8", "capacity"), ("model.choices=4", "choices")):
        with pytest.raises(UsageError) as caught:
            old_run.load_config([override])
        (line,) = str(caught.value).splitlines()
        assert line.startswith(f"command line: model.{key}: ")
    assert old_run.load_config(["model.capacity=[3, 4]"]).model.capacity == (3, 4)
    # What has no meaning without a frame is forgotten, under its new name.
    assert old_run.load_config(["model.frame=none"]).model.max_elements == 48


def test_a_run_from_before_there_was_a_precision_goes_on_in_float32(tmp_path, load):
    config = load(MOLECULES, f"run={tmp_path / 'run'}")
    values = yaml.safe_load(dump_config(config))
    assert values["train"].pop("precision") == "float32"
    run = RunFolder(config.run)
    run.path.mkdir()
    run.config.write_text(yaml.safe_dump(values))
    with run.training(config):
        pass
    other = load(MOLECULES, f"run={run.path}", "train.precision=bfloat16")
    with pytest.raises(UsageError, match="train.precision: 'float32' in the folder"):
        with run.training(other):
            pass
