"""The command line with molecules, from a file to predictions that need it no more."""

import json
import shutil
from pathlib import Path

import ase.io
import numpy as np
import pytest
import toy_task
from ase import Atoms
from ase.build import molecule
from ase.calculators.morse import MorsePotential
from ase.calculators.singlepoint import SinglePointCalculator

from experiments.checkpoint import Checkpoints
from experiments.cli import main
from experiments.potentials.calculator import SymmetrizedCalculator
from experiments.potentials.stored import load_potential
from experiments.run import RunFolder

# ASE sets shapes of arrays in a way that NumPy advises against.
pytestmark = pytest.mark.filterwarnings("ignore:Setting the shape:DeprecationWarning")

CONFIG = """\
task: molecules
run: {folder}/run
data: {{kind: file, path: {folder}/data.extxyz, num_train: 12, num_valid: 4, num_test: 4}}
model: {{backbone: point_sum, hidden: 4, layers: 1, frame: pca, training_average: sampled}}
train:
  seeds: [3, 5]
  epochs: 4
  batch_size: 4
  ema: 0.9
  steps_per_dispatch: 3
  evaluate_every: 2
  evaluation_batch_size: 4
  checkpoint_every: 2
  keep: 2
"""


def shaken(draw: np.random.Generator, name: str) -> Atoms:
    atoms = molecule(name)
    atoms.positions += 0.1 * draw.normal(size=atoms.positions.shape)
    return atoms


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with toy_task.compiled_once(tmp_path_factory.mktemp("cache")):
        yield


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> Path:
    """A configuration beside its data: molecules of two sizes, held together by Morse bonds."""
    folder, draw, frames = tmp_path_factory.mktemp("molecules"), np.random.default_rng(0), []
    for name in 10 * ("H2O", "NH3"):
        atoms = shaken(draw, name)
        atoms.calc = MorsePotential(epsilon=3.0, r0=1.0, rcut1=4.0, rcut2=5.0)
        energy, forces = atoms.get_potential_energy(), atoms.get_forces()
        atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces)
        frames.append(atoms)
    ase.io.write(folder / "data.extxyz", frames)
    path = folder / "molecules.yaml"
    path.write_text(CONFIG.format(folder=folder))
    return path


@pytest.fixture(scope="module")
def trained(config) -> Path:
    assert main(["train", str(config)]) == 0
    return config.parent / "run"


@pytest.fixture
def moved(trained, config, tmp_path) -> Path:
    """The run, whose data are elsewhere now."""
    data = config.parent / "data.extxyz"
    yield shutil.move(data, tmp_path / "hidden.extxyz") and trained
    shutil.move(tmp_path / "hidden.extxyz", data)


@pytest.fixture
def frames() -> list[Atoms]:
    draw = np.random.default_rng(1)
    return [shaken(draw, name) for name in ("H2O", "NH3", "H2O")]


def assert_predicted(run: Path, seed: int | None, output: Path, frames: list[Atoms]) -> None:
    calculator = SymmetrizedCalculator.of(*load_potential(RunFolder(run), seed))
    for found, expected in zip(ase.io.read(output, ":"), frames, strict=True):
        np.testing.assert_array_equal(found.numbers, expected.numbers)
        expected.calc = calculator
        # Energies of some 10 eV and their derivatives, in float32.
        energy = expected.get_potential_energy()
        np.testing.assert_allclose(found.get_potential_energy(), energy, atol=1e-4)
        np.testing.assert_allclose(found.get_forces(), expected.get_forces(), atol=1e-4)
        assert np.abs(found.get_forces()).max() > 1e-2


def test_training_keeps_the_facts_and_evaluates_forces(trained, capsys):
    facts = json.loads((trained / "facts.json").read_text())
    assert facts["elements"] == [1, 7, 8]
    stored = json.loads((trained / "evaluation.json").read_text())
    assert set(stored["test"]) == {"energy_meV", "forces_meV_A"}
    assert len(stored["equivariance"]["E(3) worst"]) == 2
    assert main(["evaluate", str(trained)]) == 0
    assert json.loads((trained / "evaluation.json").read_text()) == stored
    assert f"{stored['mean']['forces_meV_A']:.4g}" in capsys.readouterr().out
    page = (trained / "report.md").read_text()
    pictures = [line.split("](")[1][:-1] for line in page.splitlines() if line.startswith("![")]
    assert "forces.png" in pictures
    assert all((trained / picture).stat().st_size > 1000 for picture in pictures)


def test_a_run_that_goes_on_is_the_run_that_was_never_stopped(trained, config, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    newest, before = Checkpoints(run / "checkpoints").steps()
    for path in (run / "checkpoints").glob(f"{newest}*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for name in ("evaluation.json", "report.md"):
        (run / name).unlink()
    assert Checkpoints(run / "checkpoints").steps() == [before]

    assert main(["train", str(config), f"run={run}"]) == 0

    sums = [folder / "checkpoints" / f"{newest}.json" for folder in (trained, run)]
    arrays = [json.loads(path.read_text())["arrays"] for path in sums]
    assert arrays[0] == arrays[1]
    results = [json.loads((folder / "evaluation.json").read_text()) for folder in (trained, run)]
    assert results[0] == results[1]


def test_a_run_does_not_go_on_with_other_data(trained, config, tmp_path, capsys):
    run, data = tmp_path / "run", config.parent / "data.extxyz"
    shutil.copytree(trained, run)
    (run / "evaluation.json").unlink()
    text = data.read_text()
    frames = ase.io.read(data, ":")
    for atoms in frames:
        atoms.calc.results["energy"] += 1
    ase.io.write(data, frames)
    assert main(["train", str(config), f"run={run}"]) == 2
    data.write_text(text)
    assert "was trained on other data" in capsys.readouterr().err


def test_predictions_are_those_of_the_calculator_and_need_no_data(moved, frames, tmp_path, capsys):
    path = tmp_path / "frames.xyz"
    ase.io.write(path, frames)
    assert main(["predict", str(moved), str(path)]) == 0
    output = tmp_path / "frames_predicted.extxyz"
    assert f"wrote {output}" in capsys.readouterr().out
    assert_predicted(moved, None, output, frames)

    assert main(["predict", str(moved), str(path)]) == 2
    best = output.read_text()
    texts = set()
    for seed in (3, 5):
        arguments = [f"--seed={seed}", f"--out={output}", "--overwrite"]
        assert main(["predict", str(moved), str(path), *arguments]) == 0
        assert_predicted(moved, seed, output, frames)
        texts.add(output.read_text())
    assert best in texts and len(texts) == 2
    with pytest.raises(AssertionError):
        assert_predicted(moved, 3, output, frames)


def test_frames_that_cannot_be_predicted_cost_no_others(moved, frames, tmp_path, capsys):
    path = tmp_path / "frames.xyz"
    water, ammonia, last = frames
    ase.io.write(path, [water, Atoms("He"), ammonia, molecule("H2O"), last], format="extxyz")
    lines = path.read_text().splitlines(keepends=True)
    # Of five, three, six and five lines: what comes fourth begins at line 15.
    lines[16] = lines[16].replace(".", ".x", 1)
    path.write_text("".join(lines))
    assert main(["predict", str(moved), str(path)]) == 1
    error = capsys.readouterr().err
    assert "2 of 5 frames could not be predicted" in error and "Traceback" not in error
    assert "frame 2" in error and "the element He, which was not trained on" in error
    assert "frame 4, line 17" in error
    output = tmp_path / "frames_predicted.extxyz"
    assert [atoms.info["source_frame"] for atoms in ase.io.read(output, ":")] == [1, 3, 5]
    assert_predicted(moved, None, output, frames)


@pytest.mark.parametrize(
    ("run", "options", "words"),
    [
        ("{trained}", ["--seed=4"], "seed: received 4; allowed: one of [3, 5]"),
        ("{folder}/nothing", [], "no such folder"),
        ("{folder}", [], "is not the folder of a run"),
        ("{folder}/bodies", [], "is a run of the task 'nbody'"),
        ("{folder}/begun", [], "has no readable facts.json"),
        ("{folder}/unsaved", [], "has no checkpoint yet"),
    ],
)
def test_what_is_no_trained_potential_is_one_message(
    trained, tmp_path, capsys, run, options, words
):
    for name in ("begun", "unsaved", "bodies"):
        (tmp_path / name).mkdir()
        if name != "bodies":
            shutil.copy(trained / "config.yaml", tmp_path / name)
    (tmp_path / "bodies" / "config.yaml").write_text(toy_task.CONFIG.format(run=tmp_path))
    shutil.copy(trained / "facts.json", tmp_path / "unsaved")
    folder = run.format(trained=trained, folder=tmp_path)
    assert main(["predict", folder, str(tmp_path / "frames.xyz"), *options]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ") and words in captured.err
    assert captured.err.count("\n") == 1 and captured.out == ""
