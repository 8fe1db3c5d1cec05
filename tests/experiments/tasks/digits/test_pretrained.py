"""Networks that nobody may change: behind a learned pose, in a table, and as segmentation."""

import contextlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from rich.console import Console

import symjax_frames as sf
from experiments.benchmarks import wrapping
from experiments.errors import ExperimentError, UsageError
from experiments.runs.checkpoint import Checkpoints
from experiments.runs.folder import RunFolder
from experiments.runs.restore import load_state, seed_params
from experiments.tasks.digits.config import DigitsConfig
from experiments.tasks.digits.pretrained import best_weights
from experiments.tasks.registry import make_task
from experiments.training.train import train

pytestmark = pytest.mark.usefixtures("shallow_throughout")

SIZES = {"group": "C1", "width": 2}
POSED = {**SIZES, "symmetrization": "canonical", "symmetrization_group": "C4", "score_width": 2}


@pytest.fixture(scope="module")
def configure(tmp_path_factory, shallow_throughout):
    """Makes configurations of runs on the same 60 digits: strokes that are no symmetric images."""
    folder = tmp_path_factory.mktemp("pretrained")
    draw = np.random.default_rng(0)
    strokes = np.zeros((60, 28, 28), np.float32)
    strokes[:, 6:20, 8:18] = draw.uniform(size=(60, 7, 5)).repeat(2, 1).repeat(2, 2)
    np.savez(folder / "digits.npz", x=strokes, y=draw.integers(0, 10, 60))
    counts = {"num_train": 30, "num_valid": 10, "num_test": 20}
    data = {"path": str(folder / "digits.npz"), "rotation": "none", "cache": str(folder), **counts}

    def configure(name, **model):
        train = {"epochs": 1, "batch_size": 15, "learning_rate": 0.01, "weight_decay": 0.1}
        train |= {"steps_per_dispatch": 1, "seeds": (0,), "evaluation_batch_size": 10, "ema": 0.5}
        run = str(folder / name)
        mesh = {"data": 1}
        return DigitsConfig(task="digits", run=run, data=data, model=model, train=train, mesh=mesh)

    return configure


def trained(config):
    folder, task = RunFolder(config.run), make_task(config)
    with folder.training(config):
        return task, train(config, folder, task, Console(quiet=True))


@pytest.fixture(scope="module")
def upright(configure):
    """The folder of a run of a plain network."""
    config = configure("upright", **SIZES)
    trained(config)
    return config.run


@pytest.fixture(scope="module")
def canonical(configure, upright):
    """A run whose network is that of `upright`, its task and its state at the end."""
    config = configure("canonical", **POSED, prior_weight=1.0, pretrained=upright)
    return config, *trained(config)


def bits(tree):
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree)]


def test_only_the_network_that_scores_poses_is_trained(upright, canonical):
    _, task, state = canonical
    (name,) = state.params
    whole = task.model.network(seed_params(state, 0))
    _, weights = best_weights(upright, "none")
    for part in ("backbone", "head"):
        assert bits(nnx.state(getattr(whole, part))) == bits(weights[part])
    first = jax.jit(task.init)(jax.random.fold_in(jax.random.key(0), 0))
    sizes = [leaf.size for leaf in jax.tree.leaves(state.params)]
    assert sizes == [leaf.size for leaf in jax.tree.leaves(nnx.state(whole.scores))]
    pairs = zip(jax.tree.leaves(first), jax.tree.leaves(state.params), strict=True)
    changed = [bits(one) != bits(other[0]) for one, other in pairs]
    assert len(changed) > 5 and np.mean(changed) > 0.5
    assert name.startswith("scores_for_pretrained_weights_")


@contextlib.contextmanager
def retrained(folder):
    """The run in a folder with slightly other best weights, for a while."""
    kept = f"{folder}_kept"
    shutil.copytree(folder, kept)
    run = RunFolder(folder)
    config = run.load_config()
    state = load_state(config, run, make_task(config))
    other = jax.tree.map(lambda leaf: leaf * (1 + 1e-6), state.best)
    Checkpoints(run.checkpoints).save(int(state.step[0]) + 1, state._replace(best=other))
    yield
    shutil.rmtree(folder)
    shutil.move(kept, folder)


def test_a_run_goes_on_with_the_weights_it_began_with_or_not_at_all(upright, canonical):
    config, task, state = canonical
    folder = RunFolder(config.run)
    again = load_state(config, folder, make_task(config))
    assert bits(again) == bits(state)
    with retrained(upright):
        changed = make_task(config)
        with pytest.raises(ExperimentError, match="lacks .*scores_for_pretrained_weights_"):
            load_state(config, folder, changed)
    load_state(config, folder, make_task(config))


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ({"pretrained": "nowhere"}, "model.pretrained: nowhere: .*no such folder"),
        ({"pretrained": "{folder}"}, "model.pretrained: .*config.yaml"),
        ({"pretrained": "{folder}/bodies"}, "model.pretrained: .*bodies: .* got one of 'nbody'"),
        ({"pretrained": "{folder}/untrained"}, "model.pretrained: .*no checkpoint yet"),
        # A run may name itself: its configuration is stored before its weights are looked for.
        (
            {"pretrained": "{folder}/canonical"},
            "model.pretrained: .*must be 'none', got 'canonical'",
        ),
        ({"width": 3}, "^model.width: must be 2, .*upright, got 3"),
        ({"group": "C4", "kernel_size": 5}, "group: .*got 'C4'.*\n.*kernel_size: .*got 5"),
    ],
)
def test_runs_that_cannot_be_taken_are_refused(configure, upright, canonical, model, words):
    folder = RunFolder(upright).path.parent
    for name, text in (("bodies", "task: nbody\ntrain: {epochs: 1}\n"), ("untrained", None)):
        (folder / name).mkdir(exist_ok=True)
        text = text or RunFolder(upright).config.read_text()
        (folder / name / "config.yaml").write_text(text)
    model = {**POSED, "pretrained": upright, **model}
    model["pretrained"] = model["pretrained"].format(folder=folder)
    with pytest.raises(UsageError, match=words):
        make_task(configure("refused", **model))


def test_the_table_is_that_of_the_runs(upright, canonical, tmp_path, capsys, monkeypatch):
    # Two networks to compile rather than five; the others are made of simpler functions below.
    everything = wrapping.wrapped
    monkeypatch.setattr(wrapping, "wrapped", lambda *args: everything(*args)[::3])
    config, task, state = canonical
    wrapping.main([upright, config.run, "--digits=6", f"--out={tmp_path}"])
    shown = capsys.readouterr().out
    assert "6 test digits, plain CNN" in shown and "of the upright digits is upright" in shown
    lines = (tmp_path / "wrapping.md").read_text().splitlines()
    table = [line.strip("| ").split(" | ") for line in lines]
    names, _, alone, posed = table[2:]
    assert names[1:7] == ["upright", "turned", "mirrored", "any angle", "framed", "shifted"]
    assert alone[0] == "as it is" and alone[-1] == "-"
    batch = {name: jnp.asarray(array[:6]) for name, array in task.splits["test"].items()}
    error = jnp.mean(jax.jit(task.evaluate)(seed_params(state, 0), batch)["error"])
    assert posed[:2] == ["in a learned pose of C4", f"{100 - error:.4g}"]
    _, before, _, after = posed[-1].split()
    # float32, sums over a thousand pixels in another order.
    assert float(after) < 1e-4 < 1e-2 < float(before)


def test_wrappers_make_any_function_invariant(keys):
    kernel, other = jax.random.normal(next(keys), (2, 5, 5, 1, 10), jnp.float32)

    def network(image, kernel=kernel):
        layout = ("NHWC", "HWIO", "NHWC")
        maps = jax.lax.conv_general_dilated(
            image[None], kernel, (3, 3), "VALID", dimension_numbers=layout
        )
        return jnp.mean(jnp.tanh(maps), axis=(0, 1, 2))

    def scores(image):
        poses = jax.vmap(sf.images.pull, in_axes=(0, None))(C4, image)
        return jax.vmap(lambda pose: network(pose, other))(poses)[:, 0]

    C4 = sf.cyclic(4).cast(jnp.float32)
    digits = (
        jnp.zeros((6, 28, 28, 1), jnp.float32)
        .at[:, 6:20, 8:18]
        .set(jax.random.uniform(next(keys), (6, 14, 10, 1), jnp.float32))
    )
    # The answer for an upright digit is taken to be right, so that a change of it is an error.
    labels = jnp.argmax(jax.jit(jax.vmap(network))(digits), axis=-1).astype(jnp.int32)
    names, rows = wrapping.measure(wrapping.wrapped(network, scores, "C4"), digits, labels)
    alone, *others = (dict(zip(names, row, strict=True)) for row in rows)
    assert alone["upright"] == "100" and float(alone["turned"]) < 100
    moves = {
        "averaged over C4": ["turned"],
        "averaged over D4": ["turned", "mirrored"],
        "in a learned pose of C4": ["turned"],
        "centred at the centre of mass": [],
    }
    assert [row["network"] for row in others] == list(moves)
    for row in others:
        assert all(row[move] == row["upright"] for move in moves[row["network"]])
        _, before, _, after = row["change of logits"].split()
        # Rounding of sums, and of the centre of mass, to which interpolation is as sensitive.
        assert float(after) < 1e-4 < 1e-2 < float(before), row
    assert others[-1]["framed"] == others[-1]["shifted"] == others[-1]["upright"]


def test_a_run_that_is_missing_is_named():
    with pytest.raises(UsageError, match="nowhere"):
        wrapping.main(["nowhere"])


def test_a_frozen_segmentation_network_moves_its_mask_with_the_image(keys):
    """Pooling breaks the shifts by odd numbers of pixels, and generic kernels the quarter turns."""
    kernels = [
        jax.random.normal(key, shape) / 4
        for key, shape in zip(keys, [(3, 3, 1, 4), (3, 3, 4, 1)], strict=False)
    ]

    def convolve(maps, kernel):
        layout = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(
            maps[None], kernel, (1, 1), "SAME", dimension_numbers=layout
        )[0]

    def segment(image):
        coarse = jnp.tanh(convolve(image, kernels[0])).reshape(12, 2, 12, 2, 4).mean(axis=(1, 3))
        return jnp.tanh(convolve(coarse.repeat(2, axis=0).repeat(2, axis=1), kernels[1]))

    moves = {"in_actions": sf.images, "out_actions": sf.images}
    whole = sf.close(sf.landmark_frame, sf.cyclic(4))
    models = {
        "alone": segment,
        "shifts": sf.frame_average(segment, sf.landmark_frame, **moves),
        "shifts and turns": sf.frame_average(segment, whole, **moves),
    }
    # Ink in the middle: what comes of it stays inside, wherever it is moved.
    image = jnp.zeros((24, 24, 1)).at[9:14, 10:14].set(jax.random.uniform(next(keys), (5, 4, 1)))
    turns = sf.cyclic(4).cast(image.dtype).linear

    @jax.jit
    @jax.vmap
    def errors(turn, shift):
        g = sf.Isometry(turn, shift)

        def error(model):
            expected = sf.images.push(g, model(image))
            difference = model(sf.images.push(g, image)) - expected
            return jnp.max(jnp.abs(difference)) / jnp.max(jnp.abs(expected))

        return {name: error(model) for name, model in models.items()}

    shift = jnp.array([1.0, -2.0])
    found = errors(turns[:2], jnp.stack([shift, shift]))
    # Sums of a few dozen products of order one, in another order.
    rounding = 1e-13
    assert found["shifts and turns"].max() < rounding and found["shifts"][0] < rounding
    assert found["alone"].min() > 0.1 and found["shifts"][1] > 0.1
