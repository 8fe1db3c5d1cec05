"""XYZ and extended XYZ: every line is checked, so that errors can name it, before ASE parses it."""

import io
import os
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import ase.io
from ase import Atoms
from ase.io.extxyz import key_val_str_to_dict

from experiments.data.npz import DataError
from experiments.tasks.molecules.data.xyz_rows import PLAIN, checked_rows, columns_of, is_atom

_LONGEST = 100
"""Characters of a line that are shown in an error."""

Frames = Iterator[tuple[str, Atoms | DataError]]
"""The place of each frame, for errors, and the frame or what is wrong with it."""


def xyz_frames(path: str | os.PathLike[str], content: bytes) -> Frames:
    """The frames of a file in XYZ or extended XYZ, with the line of each one's comment.

    Understood beside the usual: `D` as exponent and a typeset minus in the numbers of atoms; blank
    lines between frames; and, with a warning, one frame without its first two lines, comments that
    are no `key=value` text, and columns of plain XYZ after the coordinates, which are dropped. Where
    a number of atoms is wrong, the next frame begins with the next line that can only be a number of
    atoms.

    Args:
      path: the name of the file, for errors.
      content: its bytes.

    Returns:
      For each frame its place, and the frame or its defect, with the number of the line.

    Raises:
      DataError: the file is no text.
    """
    # Further on, as where a disk was full or the power failed, it costs the frame that it is in.
    if b"\0" in content.partition(b"\n")[0]:
        raise DataError(f"{path}: holds binary data; allowed: XYZ, which is text in UTF-8")
    # Comments may be in any encoding: an invalid byte is an error only where it matters.
    lines = re.split("\r\n|\n|\r", content.decode("utf-8-sig", errors="replace"))
    whole = not lines[-1].strip()
    while lines and not lines[-1].strip():
        lines.pop()
    return _frames(path, lines, whole)


def _frames(path: str | os.PathLike[str], lines: Sequence[str], whole: bool) -> Frames:
    notes: list[str] = []
    body: dict[int, str] = {}
    index = 0
    start = _not_blank(lines, 0)
    while start < len(lines):
        index += 1
        place = f"{path}: frame {index}"
        if index == 1 and is_atom(lines[start]):
            comment, body = "", _numbered(lines, start, len(lines))
            line, following = start + 1, len(lines)
            notes.append(
                f"{place}, line {line}: is an atom, so all lines are taken for the atoms of one "
                "frame; allowed: first a line with their number and a comment line"
            )
        else:
            try:
                count = _checked_count(place, lines, start)
            except DataError as error:
                following = _next_frame(lines, start + 1)
                rest = f"line {following + 1}" if following < len(lines) else "none"
                yield place, DataError(f"{error} (the next frame that is found: {rest})")
                start, body = following, {}
                continue
            comment, line, following = lines[start + 1], start + 2, start + 2 + count
            body = _numbered(lines, start + 2, following)
        found: Atoms | DataError
        try:
            found = _frame(place, line, comment, body, notes)
        except DataError as error:
            found = error
        yield f"{place}, line {line}", found
        start = _not_blank(lines, following)
    if not whole and body:
        _check_end(path, list(body.items()), notes)
    if notes:
        more = f" ({len(notes) - 1} more such remarks)" if len(notes) > 1 else ""
        warnings.warn(notes[0] + more, stacklevel=4)


def _not_blank(lines: Sequence[str], start: int) -> int:
    return next((n for n in range(start, len(lines)) if lines[n].strip()), len(lines))


def _next_frame(lines: Sequence[str], start: int) -> int:
    """The next line that can only be the number of atoms: a comment may be an integer too."""
    for index in range(start, len(lines) - 2):
        number = re.fullmatch(r"\s*[1-9]\d{0,8}\s*", lines[index], re.ASCII)
        if number and not is_atom(lines[index + 1]) and is_atom(lines[index + 2]):
            return index
    return len(lines)


def _numbered(lines: Sequence[str], start: int, stop: int) -> dict[int, str]:
    return {index + 1: lines[index] for index in range(start, stop) if lines[index].strip()}


def _checked_count(where: str, lines: Sequence[str], start: int) -> int:
    """The number of atoms that a line announces, if as many lines follow."""
    line = lines[start].strip()
    if not re.fullmatch(r"\d{1,9}", line, re.ASCII) or int(line) < 1:
        raise DataError(
            f"{where}, line {start + 1}: received {_shown(line)}; allowed: the number of atoms, at "
            "least 1, then a comment line, then a line for each atom"
        )
    count = int(line)
    for found in range(count):
        index = start + 2 + found
        ended = index >= len(lines)
        line = "" if ended else lines[index].strip()
        # A lone integer is the beginning of the next frame.
        if line and not line.isdecimal():
            continue
        received = "the file ends" if ended else f"received {_shown(line)}" if line else "is blank"
        hint = ""
        if start + 1 < len(lines) and is_atom(lines[start + 1]):
            hint = f" (line {start + 2} looks like an atom: is the comment line missing?)"
        raise DataError(
            f"{where}, line {index + 1}: {received} after {found} of the {count} atoms that line "
            f"{start + 1} announces{hint}; allowed: a line for each atom"
        )
    following = _not_blank(lines, start + 2 + count)
    if following < len(lines) and is_atom(lines[following]):
        raise DataError(
            f"{where}, line {following + 1}: is an atom more than the {count} that line {start + 1} "
            "announces; allowed: a line for each atom"
        )
    return count


def _shown(line: str) -> str:
    return repr(line if len(line) <= _LONGEST else f"{line[:_LONGEST]}...")


def _frame(where: str, line: int, comment: str, body: Mapping[int, str], notes: list[str]) -> Atoms:
    try:
        declared: Any = key_val_str_to_dict(comment).get("Properties", PLAIN)
        columns = columns_of(str(declared))
    except (ValueError, IndexError, KeyError, TypeError) as error:
        if "Properties" in comment:
            raise DataError(
                f"{where}, line {line}: the comment cannot be parsed ({error}); "
                f"allowed: key=value text with Properties such as {PLAIN}:forces:R:3"
            ) from error
        notes.append(
            f"{where}, line {line}: the comment is no key=value text ({error}), and is ignored"
        )
        comment, columns = "", columns_of(PLAIN)
    rows, dropped = checked_rows(where, body, columns)
    if dropped:
        notes.append(
            f"{where}: the last {dropped} columns are ignored; allowed: a comment line with "
            f"Properties={PLAIN}:... that names them"
        )
    table = "\n".join(" ".join(row) for row in rows)
    try:
        text = io.StringIO(f"{len(rows)}\n{comment}\n{table}\n")
        return next(ase.io.iread(text, 0, format="extxyz"))
    except Exception as error:  # ASE raises whatever its conversions meet.
        raise DataError(
            f"{where}, line {line}: cannot be parsed ({error}); allowed: extended XYZ"
        ) from error


def _check_end(
    path: str | os.PathLike[str], rows: Sequence[tuple[int, str]], notes: list[str]
) -> None:
    decimals = [len(row.split()[-1].partition(".")[2]) for _, row in rows]
    if len(rows) > 1 and decimals[-1] < min(decimals[:-1]):
        notes.append(
            f"{path}: line {rows[-1][0]}, the last, has no newline and a last number shorter than "
            "those above it: the file may have been cut there"
        )
