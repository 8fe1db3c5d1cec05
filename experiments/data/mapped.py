"""Arrays of `.npz` files as files of their own, which are mapped into memory and read in parts."""

import hashlib
import itertools
import json
import math
import os
import shutil
import uuid
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from experiments.data.npz import DataError, refuse_unreadable
from experiments.files import digest_files, write_whole

_FORMAT = 1
_BLOCK = 2**18
"""Numbers that are converted at a time."""
_MANIFEST, _ARRAYS = "manifest.json", "arrays"


class Header(NamedTuple):
    """What an array of a file is, without its values."""

    shape: tuple[int, ...]
    dtype: np.dtype

    def stand_in(self) -> np.ndarray:
        """An array of this shape and dtype that takes no memory: all of it is one zero."""
        return np.broadcast_to(np.zeros((), self.dtype), self.shape)


def npz_headers(path: str | os.PathLike[str]) -> dict[str, Header]:
    """The shapes and dtypes of the arrays of a `.npz` file, without reading them.

    Raises:
      DataError: the file is missing or unreadable, no `.npz` archive, or has a member that is no
        array of numbers in C order.
    """
    refuse_unreadable(path, "a readable .npz file")
    if not zipfile.is_zipfile(path):
        raise DataError(f"{path}: must be an .npz archive, as numpy.savez writes, got another file")
    found = {}
    with _intact(path), zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            with archive.open(name) as member:
                found[name.removesuffix(".npy")] = _header(path, name, member)
    return found


def mapped_npz(
    path: str | os.PathLike[str],
    cache: str | os.PathLike[str],
    check: Callable[[str, np.ndarray], np.ndarray],
) -> dict[str, np.ndarray]:
    """The arrays of a `.npz` file, mapped from files that are made of it once.

    They take no memory until they are read, and then only what is read. The files are verified by
    their digest each time, and made again if `path` has changed since.

    Args:
      path: the file.
      cache: the folder in which there is a folder for these files.
      check: takes the name of an array and a part of it, and returns what is to be stored; it
        raises a `DataError` for what is wrong with it.

    Raises:
      DataError: a defect of the file, or a cache folder that cannot be written.
    """
    headers = npz_headers(path)
    whole_path = str(Path(path).resolve())
    source = {"format": _FORMAT, "path": whole_path, "changed": _changed(path)}
    key = hashlib.sha256(whole_path.encode()).hexdigest()[:16]
    folder = Path(cache) / f"{Path(path).stem}-{key}"
    if not _is_whole(folder, source):
        with _intact(path):
            _convert(Path(path), headers, folder, source, check)
    return {name: np.load(folder / _ARRAYS / f"{name}.npy", mmap_mode="r") for name in headers}


@contextmanager
def _intact(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turns what reading a damaged archive, or writing what is in it, may raise into an error."""
    try:
        yield
    except DataError:
        raise
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(
            f"{path}: must be an intact .npz file, and data.cache a folder that can be written, got "
            f"{error}"
        ) from error


def _changed(path: str | os.PathLike[str]) -> list[int]:
    status = os.stat(path)
    return [status.st_size, status.st_mtime_ns]


def _is_whole(folder: Path, source: Mapping[str, object]) -> bool:
    """Whether the files are those of this source, as they were made."""
    try:
        manifest = json.loads((folder / _MANIFEST).read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return manifest == {"source": dict(source), "digest": digest_files(folder / _ARRAYS)}


def _convert(
    path: Path,
    headers: Mapping[str, Header],
    folder: Path,
    source: Mapping[str, object],
    check: Callable[[str, np.ndarray], np.ndarray],
) -> None:
    unfinished = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.tmp")
    arrays = unfinished / _ARRAYS
    arrays.mkdir(parents=True)
    try:
        with zipfile.ZipFile(path) as archive:
            for name, header in headers.items():
                with archive.open(f"{name}.npy") as member:
                    _header(path, name, member)
                    blocks = (check(name, block) for block in _blocks(member, header))
                    _write(arrays / f"{name}.npy", header.shape, blocks)
        manifest = {"source": dict(source), "digest": digest_files(arrays)}
        write_whole(unfinished / _MANIFEST, json.dumps(manifest))
        shutil.rmtree(folder, ignore_errors=True)
        unfinished.replace(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _blocks(member: IO[bytes], header: Header) -> Iterator[np.ndarray]:
    """The rows of an array, some at a time; what is cut off is an error."""
    of_row = math.prod(header.shape[1:])
    rows = max(_BLOCK // max(of_row, 1), 1)
    for start in range(0, header.shape[0], rows):
        shape = (min(rows, header.shape[0] - start), *header.shape[1:])
        data = member.read(math.prod(shape) * header.dtype.itemsize)
        yield np.frombuffer(data, header.dtype).reshape(shape)
    # At the end the archive compares its checksum.
    if member.read(1):
        raise ValueError("an array is longer than it says")


def _write(path: Path, shape: tuple[int, ...], blocks: Iterator[np.ndarray]) -> None:
    """Writes blocks of rows as one array."""
    first = next(blocks, np.zeros((0, *shape[1:]), np.float32))
    target = np.lib.format.open_memmap(path, mode="w+", dtype=first.dtype, shape=shape)
    start = 0
    for block in itertools.chain([first], blocks):
        target[start : start + len(block)] = block
        start += len(block)
    target.flush()


def _header(path: str | os.PathLike[str], name: str, member: IO[bytes]) -> Header:
    """Reads the header of an array, after which its values follow."""
    try:
        major, _ = np.lib.format.read_magic(member)
        read = np.lib.format.read_array_header_1_0, np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read[major > 1](member)
    except (ValueError, EOFError) as error:
        raise DataError(f"{path}: member {name!r} must be an array, got another file") from error
    if dtype.hasobject or dtype.kind not in "fiub" or not shape or (fortran and len(shape) > 1):
        raise DataError(
            f"{path}: array {name!r} must hold numbers of examples in C order to be read in parts, "
            f"got {dtype} of shape {shape}{' in Fortran order' if fortran else ''}"
        )
    return Header(shape, dtype)
