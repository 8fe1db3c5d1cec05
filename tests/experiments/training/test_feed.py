"""Training examples that are read from files meanwhile: the same run, in little memory."""

import json
import os
import subprocess
import sys
import textwrap
import zipfile

import jax
import numpy as np
import pytest
from rich.console import Console

from experiments.data.mapped import mapped_npz
from experiments.data.npz import DataError
from experiments.runs.folder import RunFolder
from experiments.tasks.nbody.config import NBodyConfig
from experiments.tasks.nbody.task import NBody
from experiments.training.feed import is_read_meanwhile
from experiments.training.train import dispatches, train


def write_bodies(path, examples=12, bodies=5):
    draw = np.random.default_rng(0)
    arrays = {}
    for split, count in (("train", examples), ("valid", 6), ("test", 6)):
        for name in ("position", "velocity", "target"):
            arrays[f"{name}_{split}"] = draw.random((count, bodies, 3), np.float32)
        arrays[f"charge_{split}"] = draw.choice([-1, 1], size=(count, bodies)).astype(np.int8)
    np.savez(path, **arrays)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "bodies.npz"
    write_bodies(path)
    return path


def configure(path, folder, *, streamed=True, mesh=None, **train):
    counts = {"num_train": 11, "num_valid": 6, "num_test": 6}
    return NBodyConfig(
        task="nbody",
        run=str(folder / "run"),
        data={"path": str(path), "cache": str(folder), "streamed": streamed} | counts,
        # Random, without a frame to compile.
        model={"hidden": 4, "layers": 1, "augmentation": "rotations"},
        train={"epochs": 3, "batch_size": 4, "loss": "l1", "seeds": (0, 1), "steps_per_dispatch": 3}
        | train,
        mesh=mesh or {"data": 1},
    )


def trained(config):
    folder = RunFolder(config.run)
    with folder.training(config):
        return train(config, folder, NBody(config), Console(quiet=True))


def test_a_run_is_the_same_from_files_and_from_memory(path, tmp_path):
    states = []
    # Dispatches of 3 steps cross epochs of 2, and two devices leave none over.
    rarely = {"evaluate_every": 3, "checkpoint_every": 3}
    for name, streamed in (("files", True), ("memory", False)):
        states.append(trained(configure(path, tmp_path / name, streamed=streamed, **rarely)))
    jax.tree.map(np.testing.assert_array_equal, *states)
    task = NBody(configure(path, tmp_path / "files"))
    assert is_read_meanwhile(task.splits["train"])
    assert not is_read_meanwhile(task.splits["valid"])
    (record,) = RunFolder(tmp_path / "files" / "run").read_metrics()
    assert 0 <= record["waited"] <= record["seconds"]


def test_devices_read_their_own_shares(path, tmp_path):
    states = [
        trained(configure(path, tmp_path / str(n), mesh={"data": n}, gradient_parts=2))
        for n in (1, 3)
    ]
    for one, three in zip(*map(jax.tree.leaves, states), strict=True):
        np.testing.assert_allclose(three, one, rtol=1e-5, atol=1e-6)


def test_dispatches_go_on_from_any_step(path, tmp_path):
    config = configure(path, tmp_path, evaluate_every=3, checkpoint_every=3)
    assert dispatches(config, 0) == [(0, 3), (3, 3)]
    assert dispatches(config, 4) == [(4, 2)]
    assert dispatches(config, 6) == []


NAMES = ("position_train", "charge_train")


def whole(name, array):
    return array


def test_files_are_made_again_when_the_source_or_they_have_changed(path, tmp_path):
    source = tmp_path / "bodies.npz"
    source.write_bytes(path.read_bytes())
    first = mapped_npz(source, tmp_path / "cache", NAMES, whole)
    assert isinstance(first["charge_train"], np.memmap)
    (folder,) = (made for made in (tmp_path / "cache").iterdir() if made.is_dir())

    def stamp():
        return (folder / "manifest.json").stat().st_mtime_ns

    before = stamp()
    mapped_npz(source, tmp_path / "cache", NAMES, whole)
    assert stamp() == before
    target = folder / "arrays" / "position_train.npy"
    target.write_bytes(target.read_bytes()[:-1] + b"x")
    again = mapped_npz(source, tmp_path / "cache", NAMES, whole)
    assert stamp() != before
    with np.load(source) as arrays:
        np.testing.assert_array_equal(again["position_train"], arrays["position_train"])
    # Another one with the size and the time of the first.
    status = source.stat()
    with np.load(path) as arrays:
        np.savez(source, **dict(arrays) | {"position_train": arrays["position_train"] + 1})
    os.utime(source, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert source.stat().st_size == status.st_size
    other = mapped_npz(source, tmp_path / "cache", NAMES, whole)
    np.testing.assert_array_equal(other["position_train"], again["position_train"] + 1)


def test_other_members_of_an_archive_are_not_unpacked(path, tmp_path):
    source = tmp_path / "bodies.npz"
    source.write_bytes(path.read_bytes())
    with zipfile.ZipFile(source, "a") as archive:
        archive.writestr("../../escaped.npy", b"anything")
        archive.writestr("notes.txt", "of the author")
    task = NBody(configure(source, tmp_path / "deep" / "er"))
    assert is_read_meanwhile(task.splits["train"])
    assert not list(tmp_path.rglob("escaped*"))
    # What is left of a conversion that was killed goes.
    (folder,) = (made for made in (tmp_path / "deep" / "er").iterdir() if made.is_dir())
    (left := folder.with_name(f".{folder.name}.1.tmp")).mkdir()
    (folder / "manifest.json").unlink()
    NBody(configure(source, tmp_path / "deep" / "er"))
    assert not left.exists()


def test_defects_of_a_file_are_told(path, tmp_path):
    cut_off = tmp_path / "cut.npz"
    content = bytearray(path.read_bytes())
    content[500] ^= 255
    cut_off.write_bytes(content)
    with pytest.raises(DataError, match="must be an intact .npz file"):
        mapped_npz(cut_off, tmp_path / "cache", NAMES, whole)
    assert not (tmp_path / "cache").exists()
    turned = tmp_path / "turned.npz"
    np.savez(turned, a=np.asfortranarray(np.ones((2, 3))))
    with pytest.raises(DataError, match="in Fortran order"):
        mapped_npz(turned, tmp_path / "cache", ["a"], whole)
    not_finite = tmp_path / "nan.npz"
    with np.load(path) as arrays:
        np.savez(not_finite, **dict(arrays) | {"target_train": np.full((12, 5, 3), np.nan)})
    with pytest.raises(DataError, match="target_train must hold finite numbers"):
        NBody(configure(not_finite, tmp_path))


LIMITED = """
    import os, sys, threading, time
    from rich.console import Console
    from experiments.runs.folder import RunFolder
    from experiments.tasks.nbody.config import NBodyConfig
    from experiments.tasks.nbody.task import NBody
    from experiments.training.train import train

    def go(path, count, streamed):
        config = NBodyConfig(
            task="nbody",
            run=f"{folder}/run_{count}_{streamed}",
            data={"path": path, "cache": folder, "streamed": streamed}
            | {"num_train": count, "num_valid": 6, "num_test": 6},
            model={"backbone": "linear"},
            train={"epochs": 1, "batch_size": 250, "loss": "l1", "seeds": (0,)}
            | {"steps_per_dispatch": 1},
        )
        run = RunFolder(config.run)
        with run.training(config):
            train(config, run, NBody(config), Console(quiet=True))

    folder, small, large, count, megabytes, streamed = sys.argv[1:]
    go(small, 500, streamed == "True")
    def used():
        return 1024 * int(open("/proc/self/status").read().split("RssAnon:")[1].split()[0])

    def watch(limit):
        while used() < limit:
            time.sleep(0.005)
        os._exit(9)

    limit = used() + int(megabytes) * 2**20
    threading.Thread(target=watch, args=[limit], daemon=True).start()
    go(large, int(count), streamed == "True")
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")
def test_memory_is_bounded_on_a_set_ten_times_as_large(tmp_path):
    # The limit is 44 MB above what a training takes that has compiled the same before.
    examples, bodies = 130_000, 100
    write_bodies(tmp_path / "small.npz", 500, bodies)
    write_bodies(tmp_path / "large.npz", examples, bodies)
    size = 4 * 9 * bodies * examples
    megabytes = size // 10 // 2**20
    ended = {}
    for streamed in (True, False):
        ended[streamed] = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(LIMITED), str(tmp_path)]
            + [str(tmp_path / name) for name in ("small.npz", "large.npz")]
            + [str(examples), str(megabytes), str(streamed)],
            capture_output=True,
            text=True,
        )
    assert ended[True].returncode == 0, ended[True].stderr[-2000:]
    # The control: the limit is one.
    assert ended[False].returncode == 9
    record = json.loads((tmp_path / f"run_{examples}_True" / "metrics.jsonl").read_text())
    assert record["step"] == examples // 250
