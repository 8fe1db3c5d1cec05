"""The file of an exported potential: a head that people can read, then parts of bytes.

Its first line names the format. The second has the SHA-256 of all that follows: a line of JSON, the
head, and the parts one after the other, in the order and of the sizes that `parts` in the head says.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.errors import UsageError
from experiments.files import replaced_whole

FORMAT = 1
"""The version of the format, and of what programs take and return."""

_KIND = b"symjax_frames exported potential, format "
_DIGEST = b"sha256 "


def packed(head: Mapping[str, Any], parts: Mapping[str, bytes]) -> bytes:
    """The contents of a file.

    Args:
      head: what can be written as JSON, without an entry `parts`.
      parts: by name.
    """
    sizes = {name: len(part) for name, part in parts.items()}
    line = json.dumps({**head, "parts": sizes}).encode()
    body = b"\n".join([line, b"".join(parts.values())])
    return b"\n".join([_KIND + str(FORMAT).encode(), _DIGEST + _sha256(body), body])


def unpacked(
    path: str | os.PathLike[str], content: bytes
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The head and the parts of a file, every byte of which is what was written.

    Args:
      path: of the file, for errors.
      content: what it holds.

    Raises:
      UsageError: it is no such file, of another version of the format, or not what was written.
    """
    kind, _, rest = content.partition(b"\n")
    digest, _, body = rest.partition(b"\n")
    if not kind.startswith(_KIND):
        raise UsageError(
            f"{path}: must be a potential that the command export has written, which begins with "
            f"{_KIND.decode().strip()!r}, got another file, of {len(content)} bytes"
        )
    version = kind.removeprefix(_KIND).decode(errors="replace")
    if version != str(FORMAT):
        raise UsageError(
            f"{path}: must be of format {FORMAT}, got {version[:20]!r}; export the run again with "
            "this version, or read the file with the one that has written it"
        )
    if digest != _DIGEST + _sha256(body):
        stated = digest.removeprefix(_DIGEST).decode(errors="replace")
        raise UsageError(
            f"{path}: must have the SHA-256 that its second line says, {stated[:64]!r}, got "
            f"{_sha256(body).decode()!r} of its {len(content)} bytes: it was cut off or altered"
        )
    line, _, joined = body.partition(b"\n")
    parts, start = {}, 0
    try:
        head = json.loads(line)
        for name, size in head["parts"].items():
            parts[name] = joined[start : start + size]
            start += size
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"{path}: must have a head in JSON that names its parts, got one that cannot be read "
            f"({type(error).__name__}: {error})"
        ) from None
    return head, parts


def refuse_existing(path: Path, overwrite: bool) -> None:
    """Refuses a file to write to that is a folder, or that is there already.

    Args:
      path: the file.
      overwrite: whether what is there may be replaced.

    Raises:
      UsageError: it is refused.
    """
    if os.path.isdir(path):
        raise UsageError(f"{path}: must be a file to write to, got a folder")
    if os.path.exists(path) and not overwrite:
        raise UsageError(f"{path}: exists already; name another file, or use --overwrite")


def write_file(path: Path, content: bytes) -> None:
    """Writes a file whole or not at all, and makes its folder.

    Raises:
      UsageError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replaced_whole(path) as file:
            file.write(content)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror}") from None


def read_file(path: str | os.PathLike[str]) -> bytes:
    """What a file holds.

    Raises:
      UsageError: it cannot be read.
    """
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None


def _sha256(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()
