"""Training snapshots that stay in files: the same arrays and the same run, in little memory."""

import functools
import os
import re
import tracemalloc
import warnings
import weakref

import ase.db
import ase.io
import jax
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from pydantic import ValidationError
from rich.console import Console

from experiments import frame_room
from experiments.data import mapped
from experiments.data.npz import DataError
from experiments.runs.folder import RunFolder
from experiments.tasks.molecules.config import MoleculesConfig, MoleculesModelConfig
from experiments.tasks.molecules.crystals import program_sizes, with_neighbours
from experiments.tasks.molecules.data import ase_files, mapped_tables, streamed
from experiments.tasks.molecules.data import xyz as xyz_files
from experiments.tasks.molecules.data.facts import MoleculeFacts
from experiments.tasks.molecules.data.sets import load_molecules
from experiments.tasks.molecules.data_config import MoleculesDataConfig
from experiments.tasks.molecules.potential import Potential
from experiments.tasks.molecules.task import MoleculesTask
from experiments.training.feed import is_read_meanwhile
from experiments.training.train import train

COUNT, ROWS = 23, 4
COUNTS = {"num_train": 13, "num_valid": 4, "num_test": 3}
CORNERS = np.array([[0, 0, 0], [1.2, 0, 0], [0, 1.9, 0], [0, 0, 2.6], [1.2, 1.9, 0]])


@pytest.fixture(autouse=True)
def few_at_a_time(monkeypatch):
    # The last of four windows of training snapshots has one.
    monkeypatch.setattr(streamed, "_ROWS", ROWS)
    monkeypatch.setattr(mapped, "_BLOCK", 32)


def snapshots(count: int = COUNT, seed: int = 0) -> list[Atoms]:
    """Molecules of three to five atoms far from the origin, with made-up labels."""
    draw = np.random.default_rng(seed)
    images = []
    for index in range(count):
        numbers = [6, 8, 1, 1, 1][: 3 + index % 3]
        atoms = Atoms(numbers, CORNERS[: len(numbers)] + draw.normal(size=(len(numbers), 3)) / 20)
        atoms.positions += 100
        matrix = draw.normal(size=(3, 3))
        atoms.info["polarizability"] = matrix + matrix.T
        atoms.calc = SinglePointCalculator(
            atoms,
            energy=-1000.0 * len(atoms) + draw.normal(),
            forces=draw.normal(size=(len(atoms), 3)),
            dipole=draw.normal(size=3),
        )
        images.append(atoms)
    return images


def xyz(folder):
    ase.io.write(folder / "set.extxyz", snapshots())
    return "set.extxyz"


def compressed(folder):
    ase.io.write(folder / "set.xyz.gz", snapshots(), format="extxyz")
    return "set.xyz.gz"


def database(folder):
    with ase.db.connect(folder / "set.db") as stored:
        for image in snapshots():
            stored.write(image)
    return "set.db"


def padded(folder, images=None, **changes):
    images = snapshots() if images is None else images
    arrays = {"z": np.zeros((len(images), 5), np.int8)}
    arrays |= {name: np.full((len(images), 5, 3), np.nan) for name in ("R", "F")}
    for row, image in enumerate(images):
        arrays["z"][row, : len(image)] = image.numbers
        arrays["R"][row, : len(image)] = image.positions
        arrays["F"][row, : len(image)] = image.get_forces()
    arrays["E"] = np.array([[image.get_potential_energy()] for image in images])
    arrays["dipole"] = np.array([image.get_dipole_moment() for image in images])
    arrays["polarizability"] = np.array([image.info["polarizability"] for image in images])
    # Large enough to be put into files: what pickle would read, text, and what no key asks for.
    arrays["notes"] = np.array([None, "text"] * 40, object)
    arrays["names"], arrays["rest"] = np.array(["x" * 200]), np.zeros((1, 50))
    np.savez_compressed(folder / "set.npz", **arrays | changes)
    return "set.npz"


def packed(folder):
    images = snapshots()
    np.savez(
        folder / "set.npz",
        num_atoms=[len(image) for image in images],
        species=np.concatenate([image.numbers for image in images]),
        coords=np.concatenate([image.positions for image in images]),
        forces=np.concatenate([image.get_forces() for image in images]),
        energies=[image.get_potential_energy() for image in images],
        dipole=[image.get_dipole_moment() for image in images],
    )
    return "set.npz"


def alike(folder):
    images = [image for image in snapshots(3 * COUNT) if len(image) == 4]
    np.savez(
        folder / "set.npz",
        z_train=images[0].numbers,
        R_train=[image.positions for image in images],
        F_train=[image.get_forces() for image in images],
        E_train=[image.get_potential_energy() for image in images],
    )
    return "set.npz"


def crystals(folder, molecules=0):
    draw = np.random.default_rng(2)
    images = []
    for index in range(COUNT - molecules):
        atoms = bulk("Cu", cubic=index % 2 == 0) * (1, 1, 1 + index % 3)
        atoms.set_cell(atoms.cell * (1 + index / 100), scale_atoms=True)
        atoms.rattle(0.05, rng=draw)
        virial = draw.normal(size=(3, 3))
        atoms.info["virial"] = virial + virial.T
        forces = draw.normal(size=(len(atoms), 3))
        atoms.calc = SinglePointCalculator(atoms, energy=draw.normal(), forces=forces)
        images.append(atoms)
    # At the end, so that some windows have no cell.
    ase.io.write(folder / "set.extxyz", images + snapshots(molecules))
    return "set.extxyz"


def loaded(folder, name, *, stay=True, **options):
    data = {"kind": "file", "path": str(folder / name)} | COUNTS
    if stay:
        data |= {"streamed": True, "cache": str(folder / "cache")}
    return load_molecules(**MoleculesDataConfig(**data | options).model_dump())


@pytest.mark.parametrize(
    ("write", "options"),
    [
        (xyz, {"energy_unit": "kcal/mol", "length_unit": "bohr"}),
        (compressed, {"targets": "energy"}),
        (database, {}),
        (padded, {"forces_unit": "hartree/bohr"}),
        (padded, {"targets": "polarizability"}),
        (packed, {"targets": "dipole", "seed": 7}),
        (alike, {"train_split": "train"}),
        (crystals, {"virial_key": "virial", "voigt_order": "xx yy zz xy yz xz"}),
        (functools.partial(crystals, molecules=10), {"targets": "energy"}),
        # Molecules have no stress, and some windows no crystal.
        (functools.partial(crystals, molecules=10), {"virial_key": "virial"}),
    ],
)
def test_arrays_and_facts_are_those_from_memory(tmp_path, write, options):
    name = write(tmp_path)
    splits, facts = loaded(tmp_path, name, **options)
    from_memory, same_facts = loaded(tmp_path, name, stay=False, **options)
    assert facts == same_facts
    for split, arrays in from_memory.items():
        assert splits[split].keys() == arrays.keys()
        for key, array in arrays.items():
            assert splits[split][key].dtype == array.dtype
            np.testing.assert_array_equal(splits[split][key], array)
    assert is_read_meanwhile(splits["train"])
    assert not is_read_meanwhile(splits["valid"]) and not is_read_meanwhile(splits["test"])
    # The control: another seed draws other snapshots.
    others, _ = loaded(tmp_path, name, **options | {"seed": 3})
    assert not np.array_equal(others["train"]["positions"], splits["train"]["positions"])


def test_other_sets_have_files_of_their_own(tmp_path):
    name = xyz(tmp_path)
    small = [image for image in snapshots(seed=1) if len(image) == 3]
    ase.io.write(tmp_path / "small.xyz", small)
    options = {"path": str(tmp_path / "small.xyz"), "num_train": 7, "targets": "energy"}
    options["valid_path"] = options["test_path"] = str(tmp_path / name)
    splits, facts = loaded(tmp_path, name, **options)
    from_memory, same_facts = loaded(tmp_path, name, stay=False, **options)
    # Padded to the largest of another file.
    assert facts == same_facts and splits["train"]["positions"].shape == (7, 5, 3)
    jax.tree.map(np.testing.assert_array_equal, splits, from_memory)
    (tmp_path / name).unlink()
    for image in small:
        image.symbols[0] = "N"
        image.calc = SinglePointCalculator(image, energy=1.0)
    ase.io.write(tmp_path / name, small)
    messages = refused(tmp_path, name, **options)
    assert "elements must be those of the training snapshots, H, C, O, got N" in messages[0]


def refused(folder, name, **options) -> list[str]:
    """What is said from files and from memory, which is the same; nothing that counts is left."""
    messages = []
    for stay in (True, False):
        with pytest.raises(DataError) as caught:
            loaded(folder, name, stay=stay, **options)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
    return messages


def test_a_defect_is_the_same_error_and_leaves_nothing(tmp_path):
    name = xyz(tmp_path)
    lines = (tmp_path / name).read_text().splitlines()
    starts = [number for number, line in enumerate(lines) if line.strip().isdecimal()]
    bad = lines[starts[17] + 2].split()
    lines[starts[17] + 2] = " ".join([bad[0], "x1", *bad[2:]])
    (tmp_path / name).write_text("\n".join(lines))
    [message, _] = refused(tmp_path, name)
    assert f"snapshot 18, line {starts[17] + 3}" in message
    images = snapshots()
    images[11].positions[1] = images[11].positions[0]
    images[11].calc = SinglePointCalculator(images[11], **images[11].calc.results)
    assert "snapshot 12: " in refused(tmp_path, padded(tmp_path, images))[0]
    assert (
        "energies must have shape (23,)" in refused(tmp_path, padded(tmp_path, E=np.zeros(22)))[0]
    )
    species = np.array([[*image.numbers, 0, 0][:5] for image in snapshots()])
    species[21, 1] = 119
    assert "snapshot 22: species must be" in refused(tmp_path, padded(tmp_path, z=species))[0]
    assert (
        "num_train + num_valid + num_test must be at most 23"
        in refused(tmp_path, padded(tmp_path), num_train=300)[0]
    )
    assert {made.suffix for made in (tmp_path / "cache").iterdir()} <= {".lock"}
    with pytest.raises(DataError, match="data.cache must be a folder that can be written"):
        loaded(tmp_path, padded(tmp_path), cache="/dev/null")
    assert {made.suffix for made in (tmp_path / "cache").iterdir()} <= {".lock"}


def test_files_are_made_again_when_what_matters_has_changed(tmp_path, monkeypatch, capsys):
    name = xyz(tmp_path)

    def conversions(**options) -> int:
        capsys.readouterr()
        loaded(tmp_path, name, **options)
        return capsys.readouterr().err.count("is converted into")

    assert conversions() == 1 and conversions() == 0
    # Each of several configurations has its own.
    assert conversions(num_valid=3) == 1 and conversions() == 0
    os.utime(tmp_path / name, ns=(1, 1))
    assert conversions() + conversions(num_valid=3) == 2 and conversions() == 0
    whole = {path: path.read_bytes() for path in (tmp_path / "cache").rglob("*") if path.is_file()}
    [energies, *_] = [path for path in whole if path.match("train/energy.npy")]
    energies.write_bytes(whole[energies][:-1] + b"x")
    assert conversions() + conversions(num_valid=3) == 1
    assert energies.read_bytes() == whole[energies]

    def killed(*arguments):
        raise KeyboardInterrupt

    os.utime(tmp_path / name, ns=(2, 2))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(streamed, "example_windows", killed)
        loaded(tmp_path, name)
    assert conversions() == 1


def test_no_more_than_a_window_of_snapshots_is_in_memory(tmp_path, monkeypatch):
    name = xyz(tmp_path)
    open_snapshots, text_lines = ase_files.open_snapshots, xyz_files.text_lines
    alive, lines = Alive(), Alive()

    def watched(path):
        metadata, read = open_snapshots(path)

        def each():
            for location, atoms in read:
                alive.add(atoms)
                yield location, atoms
                del atoms

        return metadata, each()

    def counted(open_file):
        for line in text_lines(open_file):
            text = Line(line)
            lines.add(text)
            yield text

    monkeypatch.setattr(ase_files, "open_snapshots", watched)
    monkeypatch.setattr(xyz_files, "text_lines", counted)
    loaded(tmp_path, name)
    assert alive.most == ROWS and lines.most <= 3 * 7
    # The controls: all that are read are counted.
    loaded(tmp_path, name, stay=False)
    assert alive.most == COUNT and len(lines.all) >= 4 * 5 * COUNT


class Alive:
    """The most of some objects that there were at a time."""

    def __init__(self):
        self.all, self.most = [], 0

    def add(self, one):
        self.all.append(weakref.ref(one))
        self.most = max(self.most, sum(found() is not None for found in self.all))


class Line(str):
    """Text that can be referred to weakly."""

    def removesuffix(self, suffix):
        return Line(super().removesuffix(suffix))


def test_neighbours_of_crystals_are_in_files_too(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(mapped_tables, "_ROWS", ROWS)
    name = crystals(tmp_path)
    tasks = []
    for stay in (True, True, False):
        capsys.readouterr()
        data = {"kind": "file", "path": str(tmp_path / name), "targets": "energy"} | COUNTS
        if stay:
            data |= {"streamed": True, "cache": str(tmp_path)}
        model = {"backbone": "message_passing", "frame": "local", "cutoff": 4.0}
        config = MoleculesConfig(
            task="molecules",
            run="unused",
            data=data,
            model=model,
            train={"batch_size": 4, "epochs": 1},
        )
        tasks.append(MoleculesTask(config))
        made = capsys.readouterr().err.count("are looked up into")
        assert made == (len(tasks) == 1)
    for task in tasks[:2]:
        assert all(isinstance(array, np.memmap) for array in task.splits["train"].values())
        jax.tree.map(np.testing.assert_array_equal, task.splits, tasks[2].splits)
    counts = np.sum(tasks[2].splits["train"]["images"].any(axis=-1), axis=(1, 2))
    assert counts.min() > 0 and counts.min() != counts.max()
    # What it is sensitive to: another cutoff has other neighbours.
    narrow = config.model.model_copy(update={"cutoff": 3.0})
    splits, _ = loaded(tmp_path, name, targets="energy")
    other = with_neighbours(splits, narrow)["train"]["senders"]
    assert other.shape[2] < tasks[0].splits["train"]["senders"].shape[2]


def test_a_run_is_the_same_from_files_and_from_memory(tmp_path):
    name = xyz(tmp_path)
    states = []
    for stay in (True, False):
        data = {"kind": "file", "path": str(tmp_path / name), "targets": "energy"} | COUNTS
        if stay:
            data |= {"streamed": True, "cache": str(tmp_path)}
        config = MoleculesConfig(
            task="molecules",
            run=str(tmp_path / f"run_{stay}"),
            data=data,
            model={"backbone": "point_sum", "hidden": 4, "layers": 1},
            train={"epochs": 2, "batch_size": 4, "steps_per_dispatch": 3},
            mesh={"data": 1},
        )
        folder, task = RunFolder(config.run), MoleculesTask(config)
        assert is_read_meanwhile(task.splits["train"]) == stay
        with folder.training(config):
            states.append(train(config, folder, task, Console(quiet=True)))
    jax.tree.map(np.testing.assert_array_equal, *states)
    # So one may go on with the other.
    with RunFolder(tmp_path / "run_True").training(config):
        pass


def test_rooms_and_sizes_are_looked_at_in_parts(monkeypatch):
    count, atoms = 50_000, 40
    zeros = functools.partial(np.broadcast_to, shape=(count, atoms, 3))
    species = np.broadcast_to(np.arange(atoms, dtype=np.int32) % 3, (count, atoms))
    config = MoleculesModelConfig(backbone="point_sum", frame="robust")
    potential = Potential(config, MoleculeFacts((1, 6), (0.0, 0.0), 1.0), "energy")
    monkeypatch.setattr(frame_room, "_dropped", lambda part, _: np.zeros(len(part[0]), np.float32))

    def most(job) -> int:
        tracemalloc.start()
        job()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    of_all = count * atoms
    assert most(lambda: potential.refuse_overflows(str, zeros(np.float32(0)), species)) < of_all / 2
    assert most(lambda: program_sizes(species, 4)) < of_all / 2
    # The control: a byte an atom is seen.
    assert most(lambda: species > 0) >= of_all


def test_copies_are_warned_of_when_files_are_made(tmp_path):
    images = snapshots()
    for image in images[:3]:
        image.rotate(40, "x")
    ase.io.write(tmp_path / "valid.xyz", images[:4] + images[:1])
    name, said = xyz(tmp_path), []
    for stay in (True, False, True):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            loaded(tmp_path, name, stay=stay, valid_path=str(tmp_path / "valid.xyz"))
        said.append([str(one.message) for one in caught if one.category is UserWarning])
    twice, trained = said[0]
    assert "; 1 of 5 snapshots are such copies" in twice
    assert re.search(r"is for valid, is snapshot \d+ of .* which is trained on", trained)
    assert trained == said[1][1] and twice == re.sub(", line [0-9]+", "", said[1][0])
    # What is made already is not looked through again.
    assert said[2] == []


def test_only_files_are_streamed():
    with pytest.raises(ValidationError, match="streamed"):
        MoleculesDataConfig(streamed=True)
    with pytest.raises(ValidationError, match="cache"):
        MoleculesDataConfig(kind="file", path="a.xyz", cache="elsewhere")
    MoleculesDataConfig(kind="file", path="a.xyz", cache="elsewhere", streamed=True)
