"""Files that are written whole or not at all, and digests that tell whether one has changed."""

import hashlib
import os
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np

_PART = 2**20
"""Bytes of a file that are read at a time."""


@contextmanager
def replaced_whole(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """A file to write to that takes the name `path` when the block ends without an error.

    It is a temporary file in the same folder, which reaches the disk before it takes the name. So a
    reader sees all of it or what was there before, even after a power cut.

    Args:
      path: the file; its folder must exist.

    Raises:
      OSError: it cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_whole(path: str | os.PathLike[str], text: str) -> None:
    """Writes a text as `replaced_whole` does, in UTF-8."""
    with replaced_whole(path) as file:
        file.write(text.encode())


def digest_arrays(
    arrays: Mapping[str, np.ndarray],
    dtype_name: Callable[[np.dtype], str] = lambda dtype: dtype.str,
) -> str:
    """SHA-256 of the names, dtypes, shapes and values of arrays, in hexadecimal.

    Args:
      arrays: by name.
      dtype_name: how a dtype is written in what is digested.
    """
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.asarray(arrays[name])
        digest.update(f"{name} {dtype_name(array.dtype)} {array.shape}\n".encode())
        # A view: a copy of what is mapped from a file may be more than there is memory.
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def digest_files(folder: Path) -> str:
    """SHA-256 of the names, sizes and contents of all files in a folder, in hexadecimal."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            digest.update(f"{path.relative_to(folder)} {path.stat().st_size}\n".encode())
            with path.open("rb") as file:
                while content := file.read(_PART):
                    digest.update(content)
    return digest.hexdigest()
