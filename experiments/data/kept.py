"""Folders of files that are made once from others, and verified by their digest when they are used."""

import fcntl
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from experiments.files import digest_files, write_whole

_MANIFEST, _FILES = "manifest.json", "arrays"


@contextmanager
def kept_files(
    folder: Path, source: Mapping[str, object], make: Callable[[Path, Path], None]
) -> Iterator[Path]:
    """The folder with the files that `make` writes, which it does only if they are not there whole.

    They are made in a folder beside, which takes its name when all of them are written. Other
    processes wait meanwhile, and until the block ends, in which the files are to be opened: what is
    open stays as it is when they are made again.

    Args:
      folder: where they are kept.
      source: everything that they depend on; JSON values.
      make: writes them into its first argument; the second is a folder for what is needed only
        meanwhile.

    Raises:
      OSError: the folder cannot be written.
    """
    with _alone(folder) as may_write:
        if not _are_whole(folder, source):
            if not may_write:
                raise PermissionError(f"{folder.parent} cannot be written")
            # Of processes that were killed.
            for unfinished in folder.parent.glob(f".{folder.name}.*.tmp"):
                shutil.rmtree(unfinished, ignore_errors=True)
            unfinished = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.tmp")
            files, scratch = unfinished / _FILES, unfinished / "scratch"
            try:
                files.mkdir(parents=True)
                scratch.mkdir()
                make(files, scratch)
                shutil.rmtree(scratch)
                manifest = {"source": source, "digest": digest_files(files)}
                write_whole(unfinished / _MANIFEST, json.dumps(manifest))
                shutil.rmtree(folder, ignore_errors=True)
                unfinished.replace(folder)
            finally:
                shutil.rmtree(unfinished, ignore_errors=True)
        yield folder / _FILES


@contextmanager
def _alone(folder: Path) -> Iterator[bool]:
    """Keeps other processes from what is kept in a folder; whether there may be written."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder.with_name(f".{folder.name}.lock"), os.O_RDWR | os.O_CREAT, 0o644)
    except PermissionError:
        # What nobody may write is as it is.
        yield False
        return
    try:
        # The system releases it when the process ends, however it ends.
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield True
    finally:
        os.close(lock)


def kept_digest(files: Path) -> str:
    """The digest of files that `kept_files` has given, as it was written when they were made."""
    return json.loads((files.parent / _MANIFEST).read_text("utf-8"))["digest"]


def changed(path: str | os.PathLike[str]) -> list[int]:
    """The size of a file, and when its content and what is known of it were changed, for `source`."""
    status = os.stat(path)
    # The last is of the system: copies that keep the time of their original do not keep it.
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def _are_whole(folder: Path, source: Mapping[str, object]) -> bool:
    """Whether the files are those of this source, as they were made."""
    try:
        manifest = json.loads((folder / _MANIFEST).read_text("utf-8"))
    except (OSError, ValueError):
        return False
    if not isinstance(manifest, dict) or manifest.keys() != {"source", "digest"}:
        return False
    # Written and read once, as the other is: tuples are lists there.
    same = manifest["source"] == json.loads(json.dumps(source))
    return same and manifest["digest"] == digest_files(folder / _FILES)
