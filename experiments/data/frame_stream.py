"""The frames of a file one by one: a defect costs its own frame, and those after it are read."""

import os
import re
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from lzma import LZMAError
from pathlib import Path

import ase.db
import ase.io
from ase import Atoms
from ase.io.formats import UnknownFileTypeError, filetype, get_compression, open_with_compression
from ase.io.trajectory import Trajectory

from experiments.data._ase_frames import _KINDS
from experiments.data._molecule_npz import read_arrays
from experiments.data._units import stated_units
from experiments.data._xyz import _check_count, _check_end, _count, _frame, _numbered, read_xyz
from experiments.data._xyz_rows import is_atom
from experiments.data.npz import DataError

Frames = Iterator[tuple[str, Atoms | DataError]]
"""The place of each frame, for errors, and the frame or what is wrong with it."""


def stream_frames(path: str | os.PathLike[str]) -> Frames:
    """The frames of a file, as `read_molecules` reads them, each by itself.

    Whatever can be read is: after a defect XYZ goes on with the next line that can only be the
    number of atoms of a frame, trajectories and databases with the next frame. Other kinds of files
    end with their first defect.

    Args:
      path: a file of any kind that ASE reads, or an `.npz` file in the layout of MD17.

    Returns:
      For each frame its place, and the frame or the error that says what is wrong with it.

    Raises:
      DataError: the file is missing, unreadable or not of the kind its name says.
    """
    file = Path(path)
    if not file.is_file():
        defect = "a folder" if file.is_dir() else "no such file"
        raise DataError(f"{path}: {defect}; allowed: a readable file with molecules")
    if file.suffix.lower() == ".npz":
        arrays = read_arrays(path, {}, (), None, stated_units("eV", "Angstrom", None, "e*Angstrom"))
        pairs = zip(arrays["species"], arrays["positions"], strict=True)
        frames = (Atoms(numbers[numbers > 0], row[numbers > 0]) for numbers, row in pairs)
        return ((f"{path}: frame {index}", atoms) for index, atoms in enumerate(frames, start=1))
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
        return _stream_xyz(path, content)
    try:
        if kind == "traj":
            trajectory = Trajectory(name)
            return _each(path, [partial(trajectory.__getitem__, n) for n in range(len(trajectory))])
        if kind == "db":
            database = ase.db.connect(name, type="db", serial=True)
            rows = [row.id for row in database.select(columns=["id"])]
            return _each(path, [partial(database.get_atoms, each) for each in rows])
    except Exception as error:  # ASE raises whatever its readers meet.
        raise DataError(
            f"{path}: cannot be read as {kind} ({type(error).__name__}: {error}); allowed: an "
            "intact file of the kind that its name says"
        ) from error
    images = ase.io.iread(name, ":", format=kind, do_not_split_by_at_sign=True, parallel=False)
    return _until_defect(path, images)


def _each(path: str | os.PathLike[str], reads: Sequence[Callable[[], Atoms]]) -> Frames:
    for index, read in enumerate(reads, start=1):
        place = f"{path}: frame {index}"
        found: Atoms | DataError
        try:
            found = read()
        except DataError as error:
            found = error
        except Exception as error:  # ASE raises whatever its readers meet.
            found = _unread(place, error, "an intact frame")
        yield place, found


def _until_defect(path: str | os.PathLike[str], images: Iterable[Atoms]) -> Frames:
    index = 0
    try:
        for index, atoms in enumerate(images, start=1):
            yield f"{path}: frame {index}", atoms
    except Exception as error:  # ASE raises whatever its readers meet.
        place = f"{path}: frame {index + 1}"
        yield place, _unread(place, error, "intact frames; this one and all after it are left out")


def _unread(place: str, error: Exception, allowed: str) -> DataError:
    return DataError(
        f"{place}: cannot be read ({type(error).__name__}: {error}); allowed: {allowed}"
    )


def _stream_xyz(path: str | os.PathLike[str], content: bytes) -> Frames:
    if b"\0" in content:
        raise DataError(f"{path}: holds binary data; allowed: XYZ, which is text in UTF-8")
    lines = re.split("\r\n|\n|\r", content.decode("utf-8-sig", errors="replace"))
    whole = not lines[-1].strip()
    while lines and not lines[-1].strip():
        lines.pop()
    first = next((place for place, line in enumerate(lines) if line.strip()), 0)
    if lines and is_atom(lines[first]):
        # One frame without its first two lines, which has no next one to go on with.
        return _each(path, [lambda: read_xyz(path, content)[0][0]])
    return _blocks(path, lines, whole)


def _blocks(path: str | os.PathLike[str], lines: Sequence[str], whole: bool) -> Frames:
    start = index = 0
    notes: list[str] = []
    body: dict[int, str] = {}
    while start < len(lines):
        if not lines[start].strip():
            start += 1
            continue
        index += 1
        place = f"{path}: frame {index}"
        found: Atoms | DataError
        try:
            count = _count(place, lines, start)
            _check_count(place, lines, start, count)
        except DataError as error:
            following = _next_frame(lines, start + 1)
            skipped = f" (lines {start + 1} to {following} are left out)"
            yield place, DataError(f"{error}{skipped}")
            start, body = following, {}
            continue
        body = _numbered(lines, start + 2, start + 2 + count)
        try:
            found = _frame(place, start + 2, lines[start + 1], body, notes)
        except DataError as error:
            found = error
        yield f"{place}, line {start + 2}", found
        start += 2 + count
    if not whole and body:
        _check_end(path, list(body.items()), notes)
    if notes:
        more = f" ({len(notes) - 1} more such remarks)" if len(notes) > 1 else ""
        warnings.warn(notes[0] + more, stacklevel=2)


def _next_frame(lines: Sequence[str], start: int) -> int:
    """The next line that can only be the number of atoms: a comment may be an integer too."""
    for index in range(start, len(lines) - 2):
        number = re.fullmatch(r"\s*[1-9]\d{0,8}\s*", lines[index], re.ASCII)
        if number and not is_atom(lines[index + 1]) and is_atom(lines[index + 2]):
            return index
    return len(lines)
