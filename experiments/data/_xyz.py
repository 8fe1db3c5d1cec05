"""XYZ and extended XYZ: every line is checked, so that errors can name it, before ASE parses it."""

import io
import os
import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import ase.io
from ase import Atoms
from ase.io.extxyz import key_val_str_to_dict

from experiments.data._xyz_rows import PLAIN, checked_rows, columns_of, is_atom
from experiments.data.npz import DataError


def read_xyz(path: str | os.PathLike[str], content: bytes) -> tuple[list[Atoms], list[int]]:
    """The frames of a file in XYZ or extended XYZ, and the line of each one's comment.

    Understood beside the usual: `D` as exponent and a typeset minus in the numbers of atoms; blank
    lines between frames; and, with a warning, one frame without its first two lines, comments that
    are no `key=value` text, and columns of plain XYZ after the coordinates, which are dropped.

    Args:
      path: the name of the file, for errors.
      content: its bytes.

    Returns:
      The frames, and the numbers of lines, counted from 1.

    Raises:
      DataError: a defect, with the number of the frame and of the line.
    """
    if b"\0" in content:
        raise DataError(f"{path}: holds binary data; allowed: XYZ, which is text in UTF-8")
    # Comments may be in any encoding: an invalid byte is an error only where it matters.
    lines = re.split("\r\n|\n|\r", content.decode("utf-8-sig", errors="replace"))
    whole = not lines[-1].strip()
    while lines and not lines[-1].strip():
        lines.pop()
    frames: list[Atoms] = []
    comments: list[int] = []
    notes: list[str] = []
    start = 0
    while start < len(lines):
        if not lines[start].strip():
            start += 1
            continue
        where = f"{path}: frame {len(frames) + 1}"
        if not frames and is_atom(lines[start]):
            comment, body = "", _numbered(lines, start, len(lines))
            comments.append(start + 1)
            notes.append(
                f"{where}, line {start + 1}: is an atom, so all lines are taken for the atoms of "
                "one frame; allowed: first a line with their number and a comment line"
            )
            start = len(lines)
        else:
            count = _count(where, lines, start)
            _check_count(where, lines, start, count)
            comment, body = lines[start + 1], _numbered(lines, start + 2, start + 2 + count)
            comments.append(start + 2)
            start += 2 + count
        frames.append(_frame(where, comments[-1], comment, body, notes))
    if not whole and frames:
        _check_end(path, list(body.items()), notes)
    if notes:
        more = f" ({len(notes) - 1} more such remarks)" if len(notes) > 1 else ""
        warnings.warn(notes[0] + more, stacklevel=4)
    return frames, comments


def _numbered(lines: Sequence[str], start: int, stop: int) -> dict[int, str]:
    return {index + 1: lines[index] for index in range(start, stop) if lines[index].strip()}


def _count(where: str, lines: Sequence[str], start: int) -> int:
    line = lines[start].strip()
    if re.fullmatch(r"\d{1,9}", line, re.ASCII) and int(line) > 0:
        return int(line)
    hint = " (an atom more than the frame before says it has?)" if is_atom(line) else ""
    raise DataError(
        f"{where}, line {start + 1}: received {line!r}{hint}; allowed: the number of atoms, at "
        "least 1, then a comment line, then a line for each atom"
    )


def _check_count(where: str, lines: Sequence[str], start: int, count: int) -> None:
    for found in range(count):
        index = start + 2 + found
        line = lines[index].strip() if index < len(lines) else None
        # A lone integer is the beginning of the next frame.
        if line and not line.isdecimal():
            continue
        received = "the file ends" if line is None else f"received {line!r}" if line else "is blank"
        hint = ""
        if start + 1 < len(lines) and is_atom(lines[start + 1]):
            hint = f" (line {start + 2} looks like an atom: is the comment line missing?)"
        raise DataError(
            f"{where}, line {index + 1}: {received} after {found} of the {count} atoms that line "
            f"{start + 1} announces{hint}; allowed: a line for each atom"
        )


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
        notes.append(f"{where}, line {line}: the comment is no key=value text, and is ignored")
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
