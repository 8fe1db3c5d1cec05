"""XYZ and extended XYZ: every line is checked, so that errors can name it, before ASE parses it."""

import io
import os
import re
import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from typing import IO, Any

import ase.io
from ase import Atoms
from ase.io.extxyz import key_val_str_to_dict

from experiments.data.npz import DataError
from experiments.tasks.molecules.data.lines import Lines, text_lines
from experiments.tasks.molecules.data.qm9 import qm9_comment, skip_qm9_lines
from experiments.tasks.molecules.data.xyz_rows import (
    PLAIN,
    checked_rows,
    columns_of,
    is_atom,
    plain_comment,
)

_LONGEST = 100
"""Characters of a line that are shown in an error."""
_LONGEST_LINE = 2**20
"""Bytes of the first line that are looked at."""

Snapshots = Generator[tuple[str, Atoms | DataError], None, None]
"""The location of each snapshot, for errors, and the snapshot or what is wrong with it."""


def xyz_snapshots(path: str | os.PathLike[str], open_file: Callable[[], IO[bytes]]) -> Snapshots:
    """The snapshots of a file in XYZ or extended XYZ, with the line of each one's comment.

    More is understood than ASE reads: exponents of Fortran and Mathematica, a typeset minus, blank
    lines between snapshots, and QM9 as published. With a warning: one snapshot without its first
    two lines, comments that are no `key=value` text, and columns of plain XYZ after the
    coordinates, which are dropped.
    Where a number of atoms is wrong, the next snapshot begins with the next line that can only be a
    number of atoms. The file is read once to the end, and then again, some lines at a time.

    Args:
      path: the name of the file, for errors.
      open_file: opens it.

    Returns:
      For each snapshot its location, and the snapshot or its defect, with the number of the line.

    Raises:
      DataError: the file is no text.
      OSError: it cannot be read, as all other errors that reading may raise.
    """
    with open_file() as file:
        # Further on, as where a disk was full or the power failed, it costs the snapshot it is in.
        if b"\0" in file.readline(_LONGEST_LINE):
            raise DataError(f"{path}: must be XYZ, which is text in UTF-8, got binary data")
    count, line = 0, "\n"
    for number, line in enumerate(text_lines(open_file), start=1):
        if line.strip():
            count = number
    whole = line.endswith("\n") or not line.strip()
    return _read_again(path, open_file, count, whole)


def _read_again(
    path: str | os.PathLike[str], open_file: Callable[[], IO[bytes]], count: int, whole: bool
) -> Snapshots:
    # Closed here: an error would keep the file open as long as it is known.
    with closing(text_lines(open_file)) as lines:
        yield from _snapshots(path, Lines(lines, count), whole)


def _snapshots(path: str | os.PathLike[str], lines: Lines, whole: bool) -> Snapshots:
    notes: list[str] = []
    body: dict[int, str] = {}
    index = 0
    start = _not_blank(lines, 0)
    while start < len(lines):
        lines.forget(start)
        index += 1
        location = f"{path}: snapshot {index}"
        if index == 1 and is_atom(lines[start]):
            comment, body = "", _numbered(lines, start, len(lines))
            line, following = start + 1, len(lines)
            notes.append(
                f"{location}, line {line}: must be the number of atoms, then a comment line, got "
                "an atom, so all lines are taken for the atoms of one snapshot"
            )
        else:
            try:
                count = _checked_count(location, lines, start)
            except DataError as error:
                following = _next_snapshot(lines, start + 1)
                rest = f"line {following + 1}" if following < len(lines) else "none"
                yield location, DataError(f"{error} (the next snapshot that can be read: {rest})")
                start, body = following, {}
                continue
            comment, line = lines[start + 1], start + 2
            body = _numbered(lines, start + 2, start + 2 + count)
            following = skip_qm9_lines(lines, start + 2 + count)
        outcome: Atoms | DataError
        try:
            outcome = _snapshot(location, line, comment, body, notes)
        except DataError as error:
            outcome = error
        yield f"{location}, line {line}", outcome
        start = _not_blank(lines, following)
    if not whole and body:
        _check_end(path, list(body.items()), notes)
    if notes:
        more = f" ({len(notes) - 1} more such remarks)" if len(notes) > 1 else ""
        warnings.warn(notes[0] + more, stacklevel=8)


def _not_blank(lines: Sequence[str], start: int) -> int:
    return next((n for n in range(start, len(lines)) if lines[n].strip()), len(lines))


def _next_snapshot(lines: Lines, start: int) -> int:
    """The next line that can only be the number of atoms: a comment may be an integer too."""
    for index in range(start, len(lines) - 2):
        lines.forget(index)
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
            f"{where}, line {start + 1}: must be the number of atoms, at least 1, before a comment "
            f"line and a line for each atom, got {_shown(line)}"
        )
    count = int(line)
    for atom in range(count):
        index = start + 2 + atom
        ended = index >= len(lines)
        line = "" if ended else lines[index].strip()
        # A lone integer is the beginning of the next snapshot.
        if line and not line.isdecimal():
            continue
        received = "the end of the file" if ended else _shown(line) if line else "a blank line"
        hint = ""
        if start + 1 < len(lines) and is_atom(lines[start + 1]):
            hint = f" (line {start + 2} looks like an atom: is the comment line missing?)"
        raise DataError(
            f"{where}, line {index + 1}: must be atom {atom + 1} of the {count} that line "
            f"{start + 1} announces, got {received}{hint}"
        )
    following = _not_blank(lines, start + 2 + count)
    if following < len(lines) and is_atom(lines[following]):
        raise DataError(
            f"{where}, line {following + 1}: must be the next number of atoms, as line {start + 1} "
            f"announces {count}, got one more atom"
        )
    return count


def _shown(line: str) -> str:
    return repr(line if len(line) <= _LONGEST else f"{line[:_LONGEST]}...")


def _snapshot(
    where: str, line: int, comment: str, body: Mapping[int, str], notes: list[str]
) -> Atoms:
    try:
        comment = qm9_comment(plain_comment(comment), next(iter(body.values())))
        declared: Any = key_val_str_to_dict(comment).get("Properties", PLAIN)
        columns = columns_of(str(declared))
    except (ValueError, IndexError, KeyError, TypeError) as error:
        if "Properties" in comment:
            raise DataError(
                f"{where}, line {line}: the comment must be key=value text with Properties such as "
                f"{PLAIN}:forces:R:3, got one that cannot be parsed ({error})"
            ) from error
        notes.append(
            f"{where}, line {line}: the comment is no key=value text ({error}), and is ignored"
        )
        comment, columns = "", columns_of(PLAIN)
    rows, dropped = checked_rows(where, body, columns)
    if dropped:
        notes.append(
            f"{where}: the last {dropped} columns are ignored, as no comment line names them with "
            f"Properties={PLAIN}:..."
        )
    table = "\n".join(" ".join(row) for row in rows)
    try:
        text = io.StringIO(f"{len(rows)}\n{comment}\n{table}\n")
        atoms = next(ase.io.iread(text, 0, format="extxyz"))
    except Exception as error:  # ASE raises whatever its conversions meet.
        raise DataError(
            f"{where}, line {line}: must be extended XYZ, got what cannot be parsed ({error})"
        ) from error
    stress = key_val_str_to_dict(comment).get("stress")
    if stress is not None:
        # ASE keeps six of its components, which may be more symmetric than the nine.
        atoms.info["stress"] = stress
    return atoms


def _check_end(
    path: str | os.PathLike[str], rows: Sequence[tuple[int, str]], notes: list[str]
) -> None:
    decimals = [len(row.split()[-1].partition(".")[2]) for _, row in rows]
    if len(rows) > 1 and decimals[-1] < min(decimals[:-1]):
        notes.append(
            f"{path}: line {rows[-1][0]}, the last, has no newline and a last number shorter than "
            "those above it: the file may have been cut there"
        )
