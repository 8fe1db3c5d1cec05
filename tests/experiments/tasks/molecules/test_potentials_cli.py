"""The command line with molecules, from a file to predictions that need it no more."""

import contextlib
import importlib
import io
import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import ase.io
import jax
import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.morse import MorsePotential
from ase.calculators.singlepoint import SinglePointCalculator

from experiments.commands.main import main
from experiments.errors import UsageError
from experiments.results.report import comparison
from experiments.runs.folder import RunFolder
from experiments.tasks.molecules.calculator import SymmetrizedCalculator
from experiments.tasks.molecules.exported import load_exported
from experiments.tasks.molecules.potential import Committee
from experiments.tasks.molecules.stored import load_potential
from tests.helpers.hooks import unhooked
from tests.helpers.networks import promotion
from tests.helpers.paths import ROOT
from tests.helpers.tiny_potential import TinyPotential
from tests.helpers.toy_task import config as toy_config

# ASE sets shapes of arrays in a way that NumPy advises against.

CONFIG = """\
task: molecules
run: {folder}/run
data: {{kind: file, path: {folder}/data.extxyz, num_train: 12, num_valid: 4, num_test: 4}}
model:
  backbone: point_sum
  hidden: 4
  layers: 1
  # Of all averages the fastest to compile.
  frame: quadrature
  quadrature_degree: 1
  training_average: sampled
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
mesh: {{data: 1}}
"""


@pytest.fixture(scope="module", autouse=True)
def one_device():
    """Predictions on one device as well: for several, programs are compiled that others test."""
    with pytest.MonkeyPatch.context() as patch:
        # By its name: an attribute of the package is the command.
        module = importlib.import_module("experiments.tasks.molecules.predict")
        patch.setattr(module, "make_mesh", lambda config: None)
        yield


def shaken(draw: np.random.Generator, name: str) -> Atoms:
    atoms = molecule(name)
    atoms.positions += 0.1 * draw.normal(size=atoms.positions.shape)
    return atoms


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> Path:
    """A configuration beside its data: molecules of two sizes, held together by Morse bonds."""
    folder, draw, images = tmp_path_factory.mktemp("molecules"), np.random.default_rng(0), []
    for name in 10 * ("H2O", "NH3"):
        atoms = shaken(draw, name)
        atoms.calc = MorsePotential(epsilon=0.3, r0=1.0, rcut1=4.0, rcut2=5.0)
        energy, forces = atoms.get_potential_energy(), atoms.get_forces()
        atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces)
        images.append(atoms)
    ase.io.write(folder / "data.extxyz", images)
    path = folder / "molecules.yaml"
    path.write_text(CONFIG.format(folder=folder))
    return path


@pytest.fixture(scope="module")
def trained(config) -> Path:
    assert main(["train", str(config)]) == 0
    return config.parent / "run"


@pytest.fixture
def moved(trained, config, tmp_path) -> Iterator[Path]:
    """The run, whose data are elsewhere for a while."""
    data, hidden = config.parent / "data.extxyz", tmp_path / "hidden.extxyz"
    data.rename(hidden)
    yield trained
    hidden.rename(data)


@pytest.fixture(scope="module")
def images() -> list[Atoms]:
    draw = np.random.default_rng(1)
    return [shaken(draw, "H2O") for _ in range(3)]


@pytest.fixture(scope="module")
def expected(trained, images) -> list[SinglePointCalculator]:
    """What the calculator of the run says of the molecules."""
    calculator = SymmetrizedCalculator.of(*load_potential(RunFolder(trained)))
    return [
        SinglePointCalculator(
            atoms,
            energy=calculator.get_potential_energy(atoms),
            forces=calculator.get_forces(atoms).copy(),
        )
        for atoms in images
    ]


def assert_predicted(output: Path, expected: list[SinglePointCalculator]) -> None:
    for atoms, labels in zip(ase.io.read(output, ":"), expected, strict=True):
        np.testing.assert_array_equal(atoms.numbers, labels.atoms.numbers)
        # Energies of some 10 eV and their derivatives, in float32, and eight decimals in the file.
        energy = labels.get_potential_energy()
        np.testing.assert_allclose(atoms.get_potential_energy(), energy, atol=1e-5)
        np.testing.assert_allclose(atoms.get_forces(), labels.get_forces(), atol=1e-5)


@pytest.fixture(scope="module")
def evaluated(trained) -> tuple[dict, str]:
    """What training has stored, and what is printed when the run is evaluated once more."""
    stored = json.loads((trained / "evaluation.json").read_text())
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert main(["evaluate", str(trained)]) == 0
    return stored, printed.getvalue()


def test_training_keeps_the_facts_and_evaluates_forces(trained, evaluated):
    facts = json.loads((trained / "facts.json").read_text())
    assert facts["elements"] == [1, 7, 8]
    stored, printed = evaluated
    roots = {"energy_rmse_meV_atom", "forces_rmse_meV_A"}
    assert set(stored["test"]) == {"energy_meV", "forces_meV_A", "energy_spread_meV", *roots}
    mean, root = (stored["test"][name][0] for name in ("forces_meV_A", "forces_rmse_meV_A"))
    assert mean < root < 3 * mean
    # Of networks that see the canonical molecule in four orientations, and of both networks.
    assert min(stored["test"]["energy_spread_meV"]) > 0.1
    assert stored["committee"]["energy_deviation_meV"] > 0.1
    for name in ("energy_meV", "forces_meV_A"):
        errors = stored["test"][name]
        # The absolute error of a mean is at most the mean of the absolute errors.
        # They are equal, but for rounding, where the errors of both seeds have one sign.
        assert min(errors) / 2 < stored["committee"][name] < np.mean(errors) * (1 + 1e-6)
    assert stored["committee"]["energy_meV"] < 0.99 * np.mean(stored["test"]["energy_meV"])
    assert len(stored["equivariance"]["E(3) worst"]) == 2
    assert json.loads((trained / "evaluation.json").read_text()) == stored
    assert f"{stored['mean']['forces_meV_A']:.4g}" in printed
    page = (trained / "report.md").read_text()
    pictures = [line.split("](")[1][:-1] for line in page.splitlines() if line.startswith("![")]
    assert "forces.png" in pictures
    assert f"has a test forces_meV_A of {stored['committee']['forces_meV_A']:.4g}." in page
    assert all((trained / picture).stat().st_size > 1000 for picture in pictures)


def test_a_run_that_goes_on_is_the_run_that_was_never_stopped(trained, config, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    newest = max((run / "checkpoints").glob("*.json"))
    newest.unlink()
    shutil.rmtree(newest.with_suffix(""))
    for name in ("evaluation.json", "report.md"):
        (run / name).unlink()
    assert main(["train", str(config), f"run={run}"]) == 0

    kept = trained / "checkpoints" / newest.name
    assert json.loads(newest.read_text())["arrays"] == json.loads(kept.read_text())["arrays"]
    assert (run / "evaluation.json").read_text() == (trained / "evaluation.json").read_text()
    steps = [record["step"] for record in RunFolder(run).read_metrics()]
    assert steps == [6, 12]


def test_a_run_does_not_go_on_with_other_data(trained, config, tmp_path, capsys):
    run, data = tmp_path / "run", config.parent / "data.extxyz"
    shutil.copytree(trained, run)
    (run / "evaluation.json").unlink()
    text, changed = data.read_text(), ase.io.read(data, ":")
    for atoms in changed:
        atoms.calc.results["energy"] += 1
    ase.io.write(data, changed)
    try:
        for arguments in (["train", str(config), f"run={run}"], ["evaluate", str(run)]):
            assert main(arguments) == 2
            assert "facts.json differs" in capsys.readouterr().err
    finally:
        data.write_text(text)


def test_the_same_weights_are_evaluated_without_their_frame(trained, evaluated, capsys):
    """What has no meaning without a frame, the degree and the sampling, need not be taken back."""
    _, averaged = evaluated
    assert main(["evaluate", str(trained), "model.frame=none"]) == 0
    alone = capsys.readouterr().out
    head = averaged.splitlines()[0]
    assert "energy_spread_meV" in head and alone != averaged
    assert alone.split("\n")[0].split() == head.replace("test energy_spread_meV", "").split()
    assert main(["evaluate", str(trained), "model.frame=none", "model.max_elements=4"]) == 2
    assert "model.max_elements: " in capsys.readouterr().err
    assert main(["evaluate", str(trained), "model.hidden=8"]) == 2
    error = capsys.readouterr().err
    assert "the weights in" in error and error.count("\n") == 1 and "remove the run" not in error


def test_a_report_compares_what_all_runs_have(trained, tmp_path, capsys):
    """An energy is in both runs, in other columns; forces are not, in whichever order."""
    other = tmp_path / "energies"
    shutil.copytree(trained, other)
    path = other / "evaluation.json"
    stored = json.loads(path.read_text())
    for part in ("test", "mean", "deviation"):
        del stored[part]["forces_meV_A"]
    path.write_text(json.dumps(stored | {"metric": "energy_meV", "equivariance": {}}))
    assert main(["report", str(trained), str(other)]) == 2
    error = capsys.readouterr().err
    assert f"{other}: must have a test forces_meV_A" in error and error.count("\n") == 1
    kept = json.loads((trained / "evaluation.json").read_text())
    config = RunFolder(trained).load_config()
    folders = RunFolder(other), RunFolder(trained)
    names, rows = comparison(folders, [config, config], [json.loads(path.read_text()), kept])
    column = [row[names.index("test energy_meV")] for row in rows]
    assert column[0] == column[1] != f"{kept['mean']['forces_meV_A']:.4g}"
    assert "-" in rows[0] and "nan" not in rows[0]


def test_predictions_are_those_of_the_best_seed_and_need_no_data(
    moved, images, expected, tmp_path, capsys
):
    path, output = tmp_path / "in.xyz", tmp_path / "in_predicted.extxyz"
    ase.io.write(path, images)
    assert main(["predict", str(moved), str(path)]) == 0
    assert f"wrote {output}" in capsys.readouterr().out
    assert_predicted(output, expected)

    assert main(["predict", str(moved), str(path)]) == 2
    assert "--overwrite" in capsys.readouterr().err
    result = json.loads((moved / "evaluation.json").read_text())
    best, worse = (result["seeds"][index] for index in np.argsort(result["valid"]))
    texts = {}
    for seed in (best, worse):
        other = tmp_path / f"{seed}.extxyz"
        assert main(["predict", str(moved), str(path), f"--seed={seed}", f"--out={other}"]) == 0
        texts[seed] = other.read_text()
    assert output.read_text() == texts[best] != texts[worse]

    arguments = ["predict", str(moved), str(path), "--seed=all", f"--out={tmp_path / 'all.xyz'}"]
    assert main(arguments) == 0
    for together, *alone in zip(
        *(
            ase.io.read(tmp_path / name, ":")
            for name in ("all.xyz", f"{best}.extxyz", f"{worse}.extxyz")
        ),
        strict=True,
    ):
        energies = [atoms.get_potential_energy() for atoms in alone]
        # As in `assert_predicted`.
        assert together.get_potential_energy() == pytest.approx(np.mean(energies), abs=1e-5)
        forces = [atoms.get_forces() for atoms in alone]
        np.testing.assert_allclose(together.get_forces(), np.mean(forces, axis=0), atol=1e-5)
        assert np.max(np.abs(forces[0] - forces[1])) > 1e-3
        said = together.info["energy_deviation"], together.info["force_deviation"]
        lengths = np.linalg.norm(np.std(forces, axis=0, ddof=1), axis=1)
        assert said == pytest.approx((np.std(energies, ddof=1), lengths.max()), rel=1e-3, abs=1e-5)
        assert min(atoms.info["energy_spread"] for atoms in (together, *alone)) > 1e-4
        assert not {"energy_deviation", "force_deviation"} & set(alone[0].info)


def test_snapshots_that_cannot_be_predicted_cost_no_others(
    moved, images, expected, tmp_path, capsys
):
    path = tmp_path / "in.xyz"
    first, second, last = images
    ase.io.write(path, [first, Atoms("He"), second, molecule("H2O"), last], format="extxyz")
    lines = path.read_text().splitlines(keepends=True)
    # Of five, three and five lines: the fourth snapshot begins at line 14.
    lines[16] = lines[16].replace(".", ".x", 1)
    path.write_text("".join(lines))
    assert main(["predict", str(moved), str(path)]) == 1
    error = capsys.readouterr().err
    assert "2 of 5 snapshots" in error and "Traceback" not in error
    assert "snapshot 2" in error and "He" in error
    assert "snapshot 4, line 17" in error
    output = tmp_path / "in_predicted.extxyz"
    assert [atoms.info["source_snapshot"] for atoms in ase.io.read(output, ":")] == [1, 3, 5]
    assert_predicted(output, expected)


@pytest.mark.parametrize(
    ("run", "options", "words"),
    [
        ("{trained}", ["--seed=4"], "seed must be one of [3, 5], or 'all', got 4"),
        ("{folder}/nothing", [], "no such folder"),
        ("{folder}", [], "must be the folder of a run"),
        ("{folder}/bodies", [], "'toy'"),
        ("{folder}/begun", [], "facts.json"),
        ("{folder}/unsaved", [], "has no checkpoint yet"),
    ],
)
def test_what_is_no_trained_potential_is_one_message(
    trained, tmp_path, capsys, with_toy, run, options, words
):
    for name in ("begun", "unsaved", "bodies"):
        (tmp_path / name).mkdir()
        if name != "bodies":
            shutil.copy(trained / "config.yaml", tmp_path / name)
    (tmp_path / "bodies" / "config.yaml").write_text(toy_config.TEXT.format(run=tmp_path))
    shutil.copy(trained / "facts.json", tmp_path / "unsaved")
    folder, out = run.format(trained=trained, folder=tmp_path), tmp_path / "out"
    for arguments in (["predict", folder, str(tmp_path / "in.xyz")], ["export", folder]):
        assert main([*arguments, f"--out={out}.xyz", *options]) == 2
        captured = capsys.readouterr()
        assert captured.err.startswith("error: ") and words in captured.err
        assert captured.err.count("\n") == 1 and captured.out == ""
    assert not out.with_suffix(".xyz").exists()


@pytest.fixture(scope="module")
def exported(trained, tmp_path_factory) -> Path:
    """The mean of all networks of the run as a file."""
    path = tmp_path_factory.mktemp("exported") / "new" / "potential"
    printed = io.StringIO()
    with unhooked(), promotion(np.float64), contextlib.redirect_stdout(printed):
        assert main(["export", str(trained), f"--out={path}", "--seed=all"]) == 0
    assert f"wrote {path}: energies (eV)" in printed.getvalue()
    return path


WITHOUT_FLAX = """\
import sys
for name in ("flax", "optax", "orbax"):
    sys.modules[name] = None
import ase.io
from experiments.tasks.molecules.calculator import SymmetrizedCalculator
from experiments.tasks.molecules.exported import load_exported
_, exported, path = sys.argv
potential = load_exported(exported)
for dtype in potential.precisions:
    calculator = SymmetrizedCalculator.of(potential, dtype=dtype)
    for atoms in ase.io.read(path, ":"):
        print(calculator.get_potential_energy(atoms).hex())
        print(*(number.hex() for number in calculator.get_forces(atoms).flat))
assert not [name for name in sys.modules if name.endswith(("potential", "networks.network"))]
"""


def test_an_exported_run_is_the_run_for_molecules_of_other_sizes_and_needs_no_flax(
    trained, exported, tmp_path
):
    """Molecules of one and of six atoms, where three and four were trained on."""
    draw, folder = np.random.default_rng(2), RunFolder(trained)
    ase.io.write(tmp_path / "in.xyz", [shaken(draw, name) for name in ("O", "N2H4")])
    molecules = ase.io.read(tmp_path / "in.xyz", ":")
    arguments = [sys.executable, "-c", WITHOUT_FLAX, str(exported), str(tmp_path / "in.xyz")]
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, check=True)
    lines = [[float.fromhex(word) for word in line.split()] for line in done.stdout.splitlines()]
    assert len(lines) == 8
    for dtype, start, error in (("float32", 0, 1e-5), ("float64", 4, 1e-12)):
        of_run = SymmetrizedCalculator.of(*load_potential(folder, "all"), dtype=dtype)
        of_one = SymmetrizedCalculator.of(*load_potential(folder), dtype=dtype)
        for index, atoms in enumerate(molecules):
            [energy], forces = lines[start + 2 * index : start + 2 * index + 2]
            scale = max(1, abs(energy))
            with promotion(np.dtype(dtype)):
                found = of_run.get_potential_energy(atoms), of_run.get_forces(atoms).ravel()
            assert abs(energy - found[0]) < error * scale
            np.testing.assert_allclose(forces, found[1], atol=error)
        if dtype == "float32":
            assert abs(energy - of_one.get_potential_energy(atoms)) > 10 * error * scale


def test_an_exported_file_is_replaced_if_asked_and_refused_if_altered(
    trained, exported, tmp_path, capsys
):
    path = tmp_path / "potential"
    content = exported.read_bytes()
    path.write_bytes(content)
    assert load_exported(path).head["facts"]["elements"] == [1, 7, 8]
    assert main(["export", str(trained), f"--out={path}"]) == 2
    assert f"{path}: exists already" in capsys.readouterr().err and path.read_bytes() == content
    for wrong in (content[:-1], content[: len(content) // 2], content.replace(b"eV", b"kT", 1)):
        path.write_bytes(wrong)
        with pytest.raises(UsageError, match=f"{path}: must have the SHA-256"):
            load_exported(path)


ELSEWHERE = """\
import pickle, sys
stored = pickle.load(sys.stdin.buffer)
for atoms in stored["atoms"]:
    for calculator in stored["calculators"]:
        forces = calculator.get_forces(atoms)
        print(calculator.get_potential_energy(atoms).hex(), *(x.hex() for x in forces.flat))
"""


def test_calculators_of_a_run_travel_to_other_processes_which_need_no_folder(trained, images):
    calculators = [
        SymmetrizedCalculator.of(*load_potential(RunFolder(trained))),
        SymmetrizedCalculator.of(TinyPotential(), 1.0, dtype="float64"),
    ]
    text = io.StringIO()
    for atoms in images[:2]:
        for calculator in calculators:
            forces = calculator.get_forces(atoms)
            energy = calculator.get_potential_energy(atoms)
            print(energy.hex(), *(number.hex() for number in forces.flat), file=text)
    stored = pickle.dumps({"atoms": images[:2], "calculators": calculators})
    hidden = trained.with_name("hidden")
    trained.rename(hidden)
    # As this process computes, to the last bit.
    settings = {"JAX_ENABLE_X64": "1", "JAX_NUM_CPU_DEVICES": "2"}
    try:
        found = subprocess.run(
            [sys.executable, "-c", ELSEWHERE],
            cwd=ROOT,
            env=os.environ | settings,
            input=stored,
            capture_output=True,
            check=True,
        )
    finally:
        hidden.rename(trained)
    lines = text.getvalue().splitlines()
    assert found.stdout.decode().splitlines() == lines
    assert len(set(lines)) == 4


def test_the_mean_of_all_seeds_is_pickled_as_what_it_is_made_of(trained):
    potential, params = load_potential(RunFolder(trained), "all")
    other, others = pickle.loads(pickle.dumps((potential, params)))
    assert type(other) is type(potential) is Committee
    assert (other.config, other.targets) == (potential.config, potential.targets)
    assert other.facts == potential.facts
    jax.tree.map(np.testing.assert_array_equal, others, params)


def test_errors_by_shape_add_up_to_those_of_the_evaluation(trained, tmp_path):
    assert main(["benchmark", "shapes", str(trained), "--out", str(tmp_path)]) == 0
    (result,) = json.loads((tmp_path / "shapes.json").read_text()).values()
    shapes = [shape for shape in result["shapes"].values() if shape["molecules"]]
    total = sum(shape["molecules"] * shape["error"] for shape in shapes) / 4
    stored = json.loads((trained / "evaluation.json").read_text())["test"]["forces_meV_A"][0]
    assert total == pytest.approx(stored, rel=1e-5)
    assert min(shape["moved"] for shape in shapes) > 1e-3
    assert "| planar |" in (tmp_path / "shapes.md").read_text()
