"""The file that predictions are written to, which holds whole snapshots at any time."""

import fcntl
import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from experiments.errors import UsageError


def refuse_output(source: Path, target: Path, overwrite: bool) -> None:
    """Refuses a file to write to that is not of the kind, is the source, or is there already.

    Args:
      source: what is read.
      target: what is to be written.
      overwrite: whether what is there may be replaced.

    Raises:
      UsageError: it is refused.
    """
    if target.suffix.lower() not in (".xyz", ".extxyz"):
        raise UsageError(f"{target}: must end in .xyz or .extxyz, got {target.suffix!r}")
    if os.path.isdir(target):
        raise UsageError(f"{target}: must be a file to write to, got a folder")
    part = _part(target)
    for path in (target, part):
        if os.path.exists(path) and os.path.exists(source) and path.samefile(source):
            raise UsageError(f"{path}: must be another file than the one that is read, {source}")
    if overwrite:
        return
    if os.path.exists(target):
        raise UsageError(f"{target}: exists already; name another file, or use --overwrite")
    if os.path.exists(part):
        raise _left(part)


class PredictionFile:
    """Appends snapshots to a file beside the one that is meant, which it becomes at the end.

    A context manager: a file without snapshots is removed when it is left. Unlike a file that is
    replaced whole at the end, it keeps what is done when the process dies.

    Args:
      path: the file.
      overwrite: whether what a stopped prediction left of it may be replaced.

    Attributes:
      part: where the snapshots are until `finish`.
      snapshots: how many there are.

    Raises:
      UsageError: when entered or written to, if that cannot be done.
    """

    def __init__(self, path: Path, overwrite: bool = False) -> None:
        self.part = _part(path)
        self.snapshots = 0
        self._path = path
        self._overwrite = overwrite
        self._size = 0

    def __enter__(self) -> Self:
        try:
            self.part.parent.mkdir(parents=True, exist_ok=True)
            # Without a buffer, whose rest would still be written after a failure.
            self._file = self.part.open("ab", buffering=0)
        except OSError as error:
            raise UsageError(f"{self.part}: cannot be written: {error.strerror}") from None
        try:
            self._claim()
        except BaseException:
            self._file.close()
            raise
        return self

    def _claim(self) -> None:
        try:
            # The system releases it when the process ends, however it ends.
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            own = os.path.samestat(os.fstat(self._file.fileno()), self.part.stat())
        except (BlockingIOError, FileNotFoundError):
            own = False
        if not own:
            raise UsageError(
                f"{self.part}: another process writes it; name another file, or wait for that one"
            )
        if os.fstat(self._file.fileno()).st_size:
            if not self._overwrite:
                raise _left(self.part)
            self._file.truncate(0)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # Before another process can claim it.
        if not self.snapshots:
            self.part.unlink(missing_ok=True)
        self._file.close()

    def append(self, snapshots: Sequence[str]) -> None:
        """Adds snapshots, on the disk when this returns; all of them or, where it fails, none.

        Args:
          snapshots: each in extended XYZ.

        Raises:
          UsageError: the disk is full, or the file was removed.
        """
        content = memoryview("".join(snapshots).encode())
        size = self._size + len(content)
        self._refuse_gone()
        try:
            while content:
                content = content[self._file.write(content) :]
            os.fsync(self._file.fileno())
        except BaseException as error:
            self._file.truncate(self._size)
            if isinstance(error, OSError):
                raise UsageError(
                    f"{self.part}: cannot be written ({error.strerror}); it holds {self.snapshots} "
                    "snapshots"
                ) from error
            raise
        self._size = size
        self.snapshots += len(snapshots)

    def finish(self) -> None:
        """Gives the file its name."""
        self._refuse_gone()
        try:
            self.part.replace(self._path)
        except OSError as error:
            raise UsageError(
                f"{self._path}: cannot be written ({error.strerror}); the {self.snapshots} "
                f"snapshots are in {self.part}"
            ) from error

    def _refuse_gone(self) -> None:
        if os.fstat(self._file.fileno()).st_nlink == 0:
            raise UsageError(
                f"{self.part}: must stay in its place until the end, got removed with "
                f"{self.snapshots} snapshots"
            )


def _left(part: Path) -> UsageError:
    return UsageError(
        f"{part}: holds what another prediction, which was stopped or goes on, has written; name "
        "another file, move that one away, or use --overwrite"
    )


def _part(path: Path) -> Path:
    return path.with_name(f"{path.name}.part")
