"""Validation and test snapshots that are trained on are warned of, however the sets are given."""

import re
import shutil
import warnings
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.units import Bohr

from experiments.tasks.molecules.data.sets import load_molecules
from experiments.tasks.molecules.data_config import MoleculesDataConfig

COUNT = 8


def snapshots(seed: int, count: int = COUNT) -> list[Atoms]:
    rng = np.random.default_rng(seed)
    images = [molecule("CH3CH2OH") for _ in range(count)]
    for image in images:
        image.positions += 0.05 * rng.normal(size=image.positions.shape)
    return images


def written(path: Path, images: list[Atoms]) -> str:
    for image in images:
        image.calc = SinglePointCalculator(image, energy=1.0)
    ase.io.write(path, images)
    return str(path)


def said(path: str, **changes) -> list[str]:
    options = {"kind": "file", "path": path, "targets": "energy", "num_train": COUNT}
    data = MoleculesDataConfig(**options | {"num_valid": 2, "num_test": COUNT} | changes)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        load_molecules(**data.model_dump())
    return [str(one.message) for one in caught if one.category is UserWarning]


def turned(image: Atoms, reflect: bool) -> Atoms:
    turn, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))
    turn *= np.linalg.det(turn) * (-1 if reflect else 1)
    order = np.random.default_rng(2).permutation(len(image))
    return Atoms(image.numbers[order], image.positions[order] @ turn + 7.0)


def test_copies_are_found_in_any_order_format_and_orientation(tmp_path):
    train = written(tmp_path / "train.xyz", snapshots(0))
    valid = {"valid_path": written(tmp_path / "valid.xyz", snapshots(1))}
    assert not said(train, **valid, test_path=written(tmp_path / "new.xyz", snapshots(2)))

    originals = snapshots(0)[::-1]
    cases = {
        "same.xyz": originals,
        "same.traj": originals,
        "turned.xyz": [turned(image, False) for image in originals],
        "mirrored.db": [turned(image, True) for image in originals],
    }
    for name, images in cases.items():
        [warning] = said(train, **valid, test_path=written(tmp_path / name, images))
        found = re.fullmatch(
            r"(.*): snapshot (\d), which is for test, is snapshot (\d) of (.*), which is trained "
            rf"on, up to .*; {COUNT} of {COUNT} snapshots are such copies",
            warning,
        )
        assert found and (found[1], found[4]) == (str(tmp_path / name), train)
        assert int(found[2]) + int(found[3]) == COUNT + 1
    # The control: coordinates that differ by more than three decimals are another snapshot.
    moved = snapshots(0)
    for image in moved:
        image.positions[3] += [0.02, 0, 0]
    assert not said(train, **valid, test_path=written(tmp_path / "moved.xyz", moved))
    rounded = snapshots(0)
    for image in rounded:
        image.positions = image.positions.round(3)
    assert len(said(train, **valid, test_path=written(tmp_path / "rounded.xyz", rounded))) == 1


def test_molecules_that_are_alike_only_from_their_centre_are_no_copies(tmp_path):
    # Rectangles in one circle.
    rectangles = []
    for angle in np.radians([90, 70, 60, 50]):
        around = np.array([0, angle, np.pi, np.pi + angle])
        corners = np.stack([np.cos(around), np.sin(around), np.zeros(4)], axis=1)
        rectangles.append(Atoms("H4", corners))
    train = written(tmp_path / "train.xyz", rectangles[:2])
    test = written(tmp_path / "test.xyz", rectangles[2:])
    few = {"num_train": 2, "num_valid": 1, "num_test": 1}
    assert not said(train, valid_path=test, test_path=test, **few)


def test_copies_are_found_however_the_sets_are_given(tmp_path):
    train = written(tmp_path / "train.xyz", snapshots(0))
    shutil.copy(train, tmp_path / "copy.xyz")
    copy = str(tmp_path / "copy.xyz")
    both = said(train, valid_path=copy, test_path=copy, num_test=COUNT - 2)
    assert [re.search(r"for (\w+), ", one)[1] for one in both] == ["valid", "test"]
    assert "; 2 of 2 " in both[0] and f"; {COUNT - 2} of {COUNT - 2} " in both[1]
    # Sets in one archive, in another unit of length, of which one snapshot is trained on.
    image = snapshots(0)[0]
    positions = np.stack([image.positions for image in snapshots(0)]) / Bohr
    others = np.stack([image.positions for image in snapshots(1)]) / Bohr
    others[-1] = positions[3]
    arrays = {"z": image.numbers, "R_a": positions, "R_b": others}
    arrays |= {"E_a": np.zeros(COUNT), "E_b": np.zeros(COUNT)}
    np.savez(tmp_path / "both.npz", **arrays)
    split = {"train_split": "a", "valid_split": "b", "test_split": "b", "length_unit": "bohr"}
    [one] = said(str(tmp_path / "both.npz"), **split, num_test=COUNT - 2)
    assert "both.npz, split b: snapshot 8, " in one and "is snapshot 4 of " in one
    assert "; 1 of " in one
    # One file with a snapshot twice; what is drawn from it decides.
    twice = written(tmp_path / "twice.xyz", [*snapshots(0, 5), *snapshots(0, 5)])
    warned = said(twice, num_train=5, num_valid=1, num_test=4)
    assert any("is snapshot" in one for one in warned)
    single = written(tmp_path / "single.xyz", snapshots(0, 10))
    assert not said(single, num_train=5, num_valid=1, num_test=4)
