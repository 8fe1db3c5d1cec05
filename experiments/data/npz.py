"""Named arrays in `.npz` files: read with one clear error a defect, written whole or not at all."""

import lzma
import os
import stat
import zipfile
import zlib
from collections.abc import Container, Mapping
from pathlib import Path

import numpy as np

from experiments.errors import UsageError
from experiments.files import replaced_whole

DAMAGES = (
    *(OSError, EOFError, ValueError, RuntimeError),
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError),
)
"""What reading a damaged archive, or one of another kind, may raise."""


class DataError(UsageError):
    """Data that cannot be used: says which file and array, what it must be, and what it is."""


def refuse_unreadable(path: str | os.PathLike[str], wanted: str) -> None:
    """Refuses a path that is no file or that may not be read.

    Args:
      path: what was given.
      wanted: what it must be, in words.

    Raises:
      DataError: it is missing, a folder, or cannot be opened.
    """
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISREG(mode):
            open(path, "rb").close()
            return
        # To open a pipe would wait for somebody to write into it.
        kind = "a folder" if stat.S_ISDIR(mode) else "no regular file"
    except FileNotFoundError:
        kind = "no such file"
    except OSError as error:
        kind = f"one that cannot be read ({error.strerror})"
    raise DataError(f"{path}: must be {wanted}, got {kind}")


UNREAD = np.array(None, dtype=object)
"""Stands for the objects in a file, which are never unpickled: that would run what is in them."""


def read_npz(
    path: str | os.PathLike[str],
    *,
    refuse_objects: bool = True,
    leave_out: Container[str] = (),
) -> dict[str, np.ndarray]:
    """Reads every array of a `.npz` file, without ever unpickling an object.

    Args:
      path: the file.
      refuse_objects: whether objects, or members that are no arrays, are an error. Otherwise
        `UNREAD` stands for the former, and the latter are left out.
      leave_out: names of arrays that are not read.

    Returns:
      The arrays by name.

    Raises:
      DataError: the file is missing or unreadable, is not a `.npz` archive, is damaged, or holds
        something else than arrays of numbers, booleans or text.
    """
    path = Path(path)
    refuse_unreadable(path, "a readable .npz file")
    try:
        # np.load takes any file that is not an archive for a pickle, and says so.
        if not zipfile.is_zipfile(path):
            raise DataError(
                f"{path}: must be an .npz archive, as numpy.savez writes, got another file"
            )
        # Opened here: where the archive is damaged, NumPy does not close it.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            members = {
                name: _member(path, archive, name, refuse_objects)
                for name in archive.files
                if name not in leave_out
            }
    except DataError:
        raise
    except DAMAGES as error:
        raise DataError(
            f"{path}: must be an intact .npz file, got one that cannot be read ({error})"
        ) from error
    return {name: array for name, array in members.items() if array is not None}


def _member(
    path: Path, archive: np.lib.npyio.NpzFile, name: str, refuse_objects: bool
) -> np.ndarray | None:
    try:
        array = archive[name]
    except ValueError as error:
        if not refuse_objects and _holds_objects(archive, name):
            return UNREAD
        raise DataError(
            f"{path}: array {name!r} must hold numbers, got pickled objects or a damaged header "
            f"({error})"
        ) from error
    if isinstance(array, np.ndarray):
        return array
    if refuse_objects:
        raise DataError(f"{path}: member {name!r} must be an array of numbers, got another file")
    return None


def _holds_objects(archive: np.lib.npyio.NpzFile, name: str) -> bool:
    assert archive.zip is not None
    with archive.zip.open(name if name in archive.zip.namelist() else f"{name}.npy") as file:
        major, _ = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0, np.lib.format.read_array_header_2_0
        try:
            _, _, dtype = read[major > 1](file)
        except ValueError:
            return False
    return bool(dtype.hasobject)


def write_npz(path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray]) -> None:
    """Writes arrays so that `path` holds either all of them or what it held before.

    Args:
      path: the file; its folder is created.
      arrays: the arrays by name.

    Raises:
      DataError: the folder or the file cannot be written.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replaced_whole(path) as file:
            np.savez(file, allow_pickle=False, **dict(arrays))
    except OSError as error:
        raise DataError(
            f"{path}: must be in a folder that can be written to, got {error}"
        ) from error
