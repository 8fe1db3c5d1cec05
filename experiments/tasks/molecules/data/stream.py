"""The frames of a file one by one: a defect costs its own frame, and those after it are read."""

import os
import zlib
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from lzma import LZMAError
from pathlib import Path

import ase.db
import ase.io
from ase import Atoms
from ase.io.formats import UnknownFileTypeError, filetype, get_compression, open_with_compression
from ase.io.trajectory import Trajectory

from experiments.data.npz import DataError, refuse_unreadable
from experiments.errors import UsageError
from experiments.tasks.molecules.data.npz_files import read_arrays
from experiments.tasks.molecules.data.units import stated_units
from experiments.tasks.molecules.data.xyz import Frames, xyz_frames

# What the name says is binding for these; for all others ASE looks at the content too.
_KINDS = {".xyz": "extxyz", ".extxyz": "extxyz", ".txt": "extxyz", ".traj": "traj", ".db": "db"}


def stream_frames(path: str | os.PathLike[str], split: str | None = None) -> Frames:
    """The frames of a file, each by itself, without labels of `.npz` files.

    Whatever can be read is: after a defect XYZ goes on with the next line that can only be the
    number of atoms of a frame, trajectories and databases with the next frame. Other kinds of files
    end with their first defect.

    Args:
      path: a file of any kind that ASE reads, one ending in `.txt` being taken for XYZ; or an `.npz`
        file in the layout of MD17, in angstrom.
      split: for `.npz` files with several sets, the end of their names: `train` for `R_train`.

    Returns:
      For each frame its place, which is the file, the frame counted from 1, and, for XYZ, a line;
      and the frame or the error that says what is wrong with it.

    Raises:
      UsageError: a split of another file than `.npz`.
      DataError: the file is missing, unreadable or not of the kind its name says.
    """
    file = Path(path)
    npz = file.suffix.lower() == ".npz"
    if split is not None and not npz:
        raise UsageError(f"split is {split!r} for {path}; allowed: None, or an .npz file")
    refuse_unreadable(path, "a readable file with molecules")
    if npz:
        return _arrays(path, split)
    # Absolute: ASE takes names such as `-` and `postgres...` for something else than files.
    name = str(file.resolve())
    try:
        kind = _KINDS.get(Path(get_compression(name)[0]).suffix.lower()) or filetype(name)
        with open_with_compression(name, "rb") as opened:
            content = opened.read(-1 if kind in ("xyz", "extxyz") else 1)
    except (OSError, EOFError, zlib.error, LZMAError, UnknownFileTypeError) as error:
        raise DataError(
            f"{path}: cannot be read ({error}); allowed: an intact file of a kind that ASE reads, "
            "such as .xyz, .extxyz, .db and .traj, or .npz"
        ) from error
    if kind in ("xyz", "extxyz"):
        return xyz_frames(path, content)
    try:
        if kind == "traj":
            trajectory = Trajectory(name)
            return _each(path, [partial(trajectory.__getitem__, n) for n in range(len(trajectory))])
        if kind == "db":
            database = ase.db.connect(name, type="db", serial=True)
            rows = [row.id for row in database.select(columns=["id"])]
            # With what users store beside the results of calculators.
            read = partial(database.get_atoms, add_additional_information=True)
            return _each(path, [partial(read, row) for row in rows])
    except Exception as error:  # ASE raises whatever its readers meet.
        raise DataError(
            f"{path}: cannot be read as {kind} ({type(error).__name__}: {error}); allowed: an "
            "intact file of the kind that its name says"
        ) from error
    images = ase.io.iread(name, ":", format=kind, do_not_split_by_at_sign=True, parallel=False)
    return _until_defect(path, kind, images)


def _arrays(path: str | os.PathLike[str], split: str | None) -> Frames:
    arrays, defects = read_arrays(path, {}, (), split, stated_units())
    pairs = zip(arrays["species"], arrays["positions"], strict=True)
    return (
        (
            f"{path}: frame {index + 1}",
            defects.get(index) or Atoms(numbers[numbers > 0], positions[numbers > 0]),
        )
        for index, (numbers, positions) in enumerate(pairs)
    )


def _each(path: str | os.PathLike[str], reads: Sequence[Callable[[], Atoms]]) -> Frames:
    for index, read in enumerate(reads, start=1):
        place = f"{path}: frame {index}"
        found: Atoms | DataError
        try:
            found = read()
        except Exception as error:  # ASE raises whatever its readers meet.
            found = DataError(
                f"{place}: cannot be read ({type(error).__name__}: {error}); allowed: an intact frame"
            )
        yield place, found


def _until_defect(path: str | os.PathLike[str], kind: str, images: Iterable[Atoms]) -> Frames:
    index = 0
    try:
        for index, atoms in enumerate(images, start=1):
            yield f"{path}: frame {index}", atoms
    except Exception as error:  # ASE raises whatever its readers meet.
        place = f"{path}: frame {index + 1}"
        yield (
            place,
            DataError(
                f"{place}: cannot be read as {kind} ({type(error).__name__}: {error}), nor what "
                "follows it; allowed: an intact file of the kind that its name says"
            ),
        )
