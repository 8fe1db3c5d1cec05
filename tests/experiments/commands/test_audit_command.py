"""The command `audit`, on functions of a user and on runs of ours."""

import json

import numpy as np
import pytest

from experiments.commands.main import main
from experiments.results import audit
from experiments.tasks.nbody.task import NBody
from experiments.training.task import Task
from symjax_frames.testing import generic_cloud
from tests.helpers.bodies import write_bodies

MODULE = """\
import jax
import jax.numpy as jnp

@jax.jit
def energy(x):
    return jnp.sum(jnp.prod(jnp.sin(x + 1), axis=1))

def broken(x):
    raise RuntimeError("a mistake of the user")

class Holder:
    energy = staticmethod(energy)

def ending(x):
    raise SystemExit(0)

number = 3
"""
SCRIPT = "import sys\ndef energy(x): return x.sum()\nsys.exit({})\n"


@pytest.fixture
def module(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(MODULE)
    (tmp_path / "well.py").write_text(SCRIPT.format(0))
    (tmp_path / "ill.py").write_text(SCRIPT.format("'no data'"))
    return path


@pytest.fixture
def one_cloud(monkeypatch):
    """Lets the command look at a single cloud."""
    import jax

    cloud = np.asarray(generic_cloud(jax.random.key(0), 4, 3))
    measure = audit.audit

    def quick(fn, clouds, **options):
        return measure(fn, {"four points": cloud} if clouds is None else clouds, **options)

    monkeypatch.setattr(audit, "audit", quick)


def test_a_function_is_audited_bare_and_averaged(module, one_cloud, tmp_path, capsys):
    path = tmp_path / "found.json"
    assert main(["audit", f"{module}:energy", "--json", str(path)]) == 0
    output = capsys.readouterr().out
    assert "float32" in output and "four points" in output and "l = 4" in output
    assert "measures break a law of E" in output
    bare = json.loads(path.read_text())
    assert bare["target"].endswith("mine.py:energy") and bare["dtype"] == "float32"
    assert bare["clouds"][0]["proper"] > 1e-2 and len(bare["clouds"][0]["degrees"]) == 6
    arguments = ["--average", "pca", "--group", "SE", "--float64", "--json", str(path)]
    assert main(["audit", f"{module}:Holder.energy", *arguments]) == 0
    assert "averaged over pca_frame, group SE, float64" in capsys.readouterr().out
    averaged = json.loads(path.read_text())
    assert averaged["clouds"][0]["proper"] < 1e-12 < averaged["clouds"][0]["crossing"]
    assert averaged["separates_mirror_images"] is True


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("nothing", "TARGET must be package.module:function"),
        ("no_such_package:energy", "no_such_package: cannot be imported: ModuleNotFoundError"),
        ("{folder}/no.py:energy", "no.py: must be a Python file"),
        ("{folder}/mine.py:forces", "has no forces"),
        ("{folder}/mine.py:number", "mine.py:number: must be a function, got a int"),
        ("{folder}/mine.py:broken", "cloud 'four points': a mistake of the user"),
        ("{folder}/mine.py:ending", "mine.py:ending: must return what is audited, got a function"),
        ("{folder}/well.py:energy", "well.py: must be a module that can be imported, got a script"),
        ("{folder}/ill.py:energy", "that ends the process, by sys.exit('no data')"),
        ("{folder}", "{folder}: must be the folder of a run"),
    ],
)
def test_mistakes_are_one_message_and_code_two(module, one_cloud, capsys, target, words):
    assert main(["audit", target.format(folder=module.parent)]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ") and words.format(folder=module.parent) in captured.err
    assert "Traceback" not in captured.err and captured.out == ""


def test_a_model_of_charged_bodies_is_audited_on_its_test_systems(tmp_path, capsys, monkeypatch):
    write_bodies(tmp_path / "bodies.npz", 6)
    run = tmp_path / "run"
    config = tmp_path / "linear.yaml"
    config.write_text(
        f"task: nbody\nrun: {run}\n"
        f"data: {{path: {tmp_path / 'bodies.npz'}, num_train: 6, num_valid: 6, num_test: 6}}\n"
        "model: {backbone: linear}\n"
        "train: {epochs: 1, batch_size: 6, loss: l1}\n"
    )
    assert main(["train", str(config)]) == 0
    capsys.readouterr()
    path = tmp_path / "found.json"
    assert main(["audit", str(run), "--json", str(path)]) == 0
    output = capsys.readouterr().out
    assert "no measure breaks a law of E" in output
    found = json.loads(path.read_text())
    assert [cloud["name"] for cloud in found["clouds"]][::3] == ["test system 0", "test system 3"]
    assert all(cloud["proper"] < 1e-5 for cloud in found["clouds"])
    assert main(["audit", str(run), "--returns", "points"]) == 2
    assert "--returns must be given with a function" in capsys.readouterr().err
    monkeypatch.setattr(NBody, "audited", Task.audited)
    assert main(["audit", str(run)]) == 2
    assert "must be a run whose model is a function of point clouds" in capsys.readouterr().err
