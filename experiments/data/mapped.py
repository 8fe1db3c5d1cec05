"""Arrays of `.npz` files as files of their own, which are mapped into memory and read in parts."""

import hashlib
import math
import os
import zipfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from experiments.data.kept import changed, kept_files
from experiments.data.npz import DAMAGES, UNREAD, DataError, read_npz, refuse_unreadable

_FORMAT = 1
_BLOCK = 2**18
"""Numbers that are converted at a time, and bytes of an array that is small."""
_NUMBERS = "fiub"
"""Kinds of dtypes."""


class Header(NamedTuple):
    """What an array of a file is, without its values."""

    shape: tuple[int, ...]
    dtype: np.dtype

    def stand_in(self) -> np.ndarray:
        """An array of this shape and dtype that takes no memory: all of it is one zero."""
        return np.broadcast_to(np.zeros((), self.dtype), self.shape)


def npz_headers(path: str | os.PathLike[str], names: Collection[str]) -> dict[str, Header | None]:
    """The shapes and dtypes of some of the arrays of a `.npz` file, without reading them.

    Args:
      path: the file.
      names: of the arrays; others have `None`.

    Raises:
      DataError: the file is missing or unreadable, no `.npz` archive, or one of `names` is no array
        of numbers in C order.
    """
    _refuse_other(path)
    found: dict[str, Header | None] = {}
    with _intact(path), zipfile.ZipFile(path) as archive:
        for member in archive.namelist():
            name = member.removesuffix(".npy")
            found[name] = None
            if name in names:
                with archive.open(member) as opened:
                    found[name] = _header(path, name, opened)
    return found


def mapped_npz(
    path: str | os.PathLike[str],
    cache: str | os.PathLike[str],
    names: Sequence[str],
    check: Callable[[str, np.ndarray], np.ndarray],
) -> dict[str, np.ndarray]:
    """Arrays of a `.npz` file, mapped from files that are made of it once.

    They take no memory until they are read, and then only what is read. The files are verified by
    their digest each time, and made again if `path` has changed since.

    Args:
      path: the file.
      cache: the folder in which there is a folder for these files.
      names: of the arrays, which the file must have.
      check: takes the name of an array and a part of it, and returns what is to be stored; it
        raises a `DataError` for what is wrong with it.

    Raises:
      DataError: a defect of the file, or a cache folder that cannot be written.
    """
    headers = npz_headers(path, names)
    whole_path = str(Path(path).resolve())
    source = {
        "format": _FORMAT,
        "path": whole_path,
        "changed": changed(path),
        "names": list(names),
    }
    key = hashlib.sha256(whole_path.encode()).hexdigest()[:16]

    def convert(files: Path, _: Path) -> None:
        with zipfile.ZipFile(path) as archive:
            members = {member.removesuffix(".npy"): member for member in archive.namelist()}
            for name in names:
                header = headers[name]
                assert header is not None
                with archive.open(members[name]) as member:
                    _header(path, name, member)
                    blocks = ({name: check(name, block)} for block in _blocks(member, header))
                    write_rows(files, header.shape[0], blocks)

    folder = Path(cache) / f"{Path(path).stem}-{key}"
    with _intact(path), kept_files(folder, source, convert) as files:
        return mapped_arrays(files)


def npz_in_parts(path: str | os.PathLike[str], folder: Path) -> dict[str, np.ndarray]:
    """The arrays of a `.npz` file, of which large ones are mapped from files that they are put in.

    Args:
      path: the file.
      folder: gets the files; it must be there.

    Returns:
      As `read_npz` without `refuse_objects`; for large text `UNREAD` stands too.

    Raises:
      DataError: as of `read_npz`, and if a large array is in Fortran order.
    """
    _refuse_other(path)
    large: dict[str, np.ndarray] = {}
    with _intact(path), zipfile.ZipFile(path) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist()]
        for number, member in enumerate(archive.infolist()):
            name = names[number]
            if member.file_size <= _BLOCK or not member.filename.endswith(".npy"):
                continue
            with archive.open(member) as opened:
                shape, fortran, dtype = _described(path, name, opened)
                large[name] = UNREAD
                if dtype.kind in _NUMBERS:
                    header = _checked(path, name, shape, fortran, dtype)
                    blocks = ({str(number): block} for block in _blocks(opened, header))
                    write_rows(folder, shape[0], blocks)
                    large[name] = np.load(folder / f"{number}.npy", mmap_mode="r")
    found = read_npz(path, refuse_objects=False, leave_out=large) | large
    return {name: found[name] for name in names if name in found}


def _refuse_other(path: str | os.PathLike[str]) -> None:
    refuse_unreadable(path, "a readable .npz file")
    if not zipfile.is_zipfile(path):
        raise DataError(f"{path}: must be an .npz archive, as numpy.savez writes, got another file")


@contextmanager
def _intact(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turns what reading a damaged archive, or writing what is in it, may raise into an error."""
    try:
        yield
    except DataError:
        raise
    except DAMAGES as error:
        raise DataError(
            f"{path}: must be an intact .npz file, and data.cache a folder that can be written, got "
            f"{error}"
        ) from error


def _blocks(member: IO[bytes], header: Header) -> Iterator[np.ndarray]:
    """The rows of an array, some at a time; what is cut off is an error."""
    of_row = math.prod(header.shape[1:])
    rows = max(_BLOCK // max(of_row, 1), 1)
    for start in range(0, max(header.shape[0], 1), rows):
        shape = (min(rows, header.shape[0] - start), *header.shape[1:])
        data = member.read(math.prod(shape) * header.dtype.itemsize)
        yield np.frombuffer(data, header.dtype).reshape(shape)
    # At the end the archive compares its checksum.
    if member.read(1):
        raise ValueError("an array is longer than it says")


def write_rows(folder: Path, count: int, windows: Iterable[Mapping[str, np.ndarray]]) -> None:
    """Writes arrays, some rows of each at a time, to files that `mapped_arrays` opens.

    Args:
      folder: gets a file `NAME.npy` of each.
      count: rows in all.
      windows: rows of the same arrays, one part after the other.
    """
    targets: dict[str, np.memmap] = {}
    start = 0
    for arrays in windows:
        for name, array in arrays.items():
            if name not in targets:
                shape = (count, *array.shape[1:])
                targets[name] = np.lib.format.open_memmap(
                    folder / f"{name}.npy", mode="w+", dtype=array.dtype, shape=shape
                )
            targets[name][start : start + len(array)] = array
        start += len(array)
    for target in targets.values():
        target.flush()


def mapped_arrays(folder: Path) -> dict[str, np.ndarray]:
    """The arrays of all files `NAME.npy` in a folder, mapped into memory."""
    paths = sorted(folder.glob("*.npy"))
    return {path.stem: np.load(path, mmap_mode="r") for path in paths}


def _header(path: str | os.PathLike[str], name: str, member: IO[bytes]) -> Header:
    """Reads the header of an array, after which its values follow."""
    return _checked(path, name, *_described(path, name, member))


def _described(
    path: str | os.PathLike[str], name: str, member: IO[bytes]
) -> tuple[tuple[int, ...], bool, np.dtype]:
    """The shape of an array, whether it is in Fortran order, and its dtype."""
    try:
        major, _ = np.lib.format.read_magic(member)
        read = np.lib.format.read_array_header_1_0, np.lib.format.read_array_header_2_0
        return read[major > 1](member)
    except (ValueError, EOFError) as error:
        raise DataError(f"{path}: member {name!r} must be an array, got another file") from error


def _checked(
    path: str | os.PathLike[str],
    name: str,
    shape: tuple[int, ...],
    fortran: bool,
    dtype: np.dtype,
) -> Header:
    if dtype.kind not in _NUMBERS or not shape or (fortran and len(shape) > 1):
        raise DataError(
            f"{path}: array {name!r} must hold numbers of examples in C order to be read in parts, "
            f"got {dtype} of shape {shape}{' in Fortran order' if fortran else ''}"
        )
    return Header(shape, dtype)
