"""The columns of (extended) XYZ: which there are, and what a word in each of them may be."""

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ase.data import atomic_numbers
from ase.io.extxyz import parse_properties

from experiments.data.npz import DataError

PLAIN = "species:S:1:pos:R:3"
"""The columns of XYZ that is not extended."""

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII)
_NOT_FINITE = re.compile(r"[+-]?(nan|inf|infinity)")
# Hyphens, dashes and the minus of typeset tables; the exponent of Fortran's double precision.
_TYPESET = str.maketrans({"\u2212": "-", "\u2013": "-", "\u2010": "-", "\u2011": "-", "d": "e"})


class Column(NamedTuple):
    """A column of atom lines: its name in extended XYZ, and R, I, S or L for its type."""

    name: str
    kind: str


def columns_of(declared: str) -> list[Column]:
    """The columns that a text such as `PLAIN` declares.

    Args:
      declared: names, types and numbers of columns.

    Returns:
      The columns, from the left.

    Raises:
      ValueError: the text is malformed, or says nothing of elements or coordinates.
    """
    fields = declared.split(":")
    if len(fields) % 3:
        raise ValueError(f"{declared} is not made of NAME:TYPE:COLUMNS")
    properties, names, _, _ = parse_properties(declared)
    columns = [
        Column(name, kind)
        for name, kind in zip(names, fields[1::3], strict=True)
        for _ in range(properties[name][1])
    ]
    received = [column.name for column in columns]
    if received.count("pos") != 3 or received.count("species") + received.count("Z") < 1:
        raise ValueError(f"{declared} lacks a column of species:S:1 and pos:R:3")
    return columns


def is_atom(line: str) -> bool:
    """Whether a line begins as an atom's does: an element and two of three words numbers."""
    words = line.split()
    return (
        len(words) >= 3
        and words[0].capitalize() in atomic_numbers
        and sum(plain_number(word) is not None for word in words[1:4]) >= 2
    )


def checked_rows(
    where: str, lines: Mapping[int, str], columns: Sequence[Column]
) -> tuple[list[list[str]], int]:
    """Atom lines as words that ASE can convert.

    Args:
      where: the file and snapshot, for errors.
      lines: by their numbers.
      columns: what they hold; columns on the right of those of `PLAIN` are dropped if every line
        has them.

    Returns:
      The words of each line, and how many columns were dropped.

    Raises:
      DataError: a wrong word, or a wrong number of them.
    """
    rows = {
        number: _checked(f"{where}, line {number}", line.split(), columns)
        for number, line in lines.items()
    }
    plain = list(columns) == columns_of(PLAIN)
    fewest = min(map(len, rows.values()))
    count = max(fewest, len(columns)) if plain else len(columns)
    for number, row in rows.items():
        if len(row) != count:
            raise DataError(
                f"{where}, line {number}: must have {count} columns, as "
                f"{' '.join(column.name for column in columns)}, got {len(row)}, {' '.join(row)!r}"
            )
    return [row[: len(columns)] for row in rows.values()], count - len(columns)


def _checked(where: str, words: list[str], columns: Sequence[Column]) -> list[str]:
    row = list(words)
    for index, (word, column) in enumerate(zip(words, columns, strict=False)):
        must = f"{where}: column {index + 1} ({column.name}) must be"
        if column.name == "species" and atomic_numbers.get(word.capitalize(), 0) < 1:
            close = difflib.get_close_matches(word.capitalize(), list(atomic_numbers)[1:], n=1)
            hint = f" (meant {close[0]}?)" if close else ""
            if word in ("D", "T"):
                hint = " (an isotope of H, which has the same energies?)"
            raise DataError(f"{must} an element, such as H, C or Cl, got {word!r}{hint}")
        if column.kind == "I" and not re.fullmatch(r"[+-]?\d{1,18}", word, re.ASCII):
            raise DataError(f"{must} an integer, got {word!r}")
        if column.name == "Z" and not 1 <= int(word) <= 118:
            raise DataError(f"{must} an atomic number, 1 to 118, got {word!r}")
        if column.kind == "R":
            number = plain_number(word)
            if number is None:
                raise DataError(
                    f"{must} a number such as -1.25 or 3.1e-2, with spaces around it, got {word!r}"
                )
            if _NOT_FINITE.fullmatch(number):
                raise DataError(f"{must} a finite number, got {word!r}")
            row[index] = number
    return row


def plain_number(word: str) -> str | None:
    """A number that `float` takes, `None` if the word is none.

    Exponents of Fortran and of Mathematica (`1.2*^-6`) and typeset signs are understood.
    """
    # Not float(), which takes 1_000 and the digits of every script.
    plain = word.lower().replace("*^", "e").translate(_TYPESET)
    return plain if _NUMBER.fullmatch(plain) or _NOT_FINITE.fullmatch(plain) else None


def plain_comment(comment: str) -> str:
    """A comment line whose decimal numbers are as `plain_number` writes them."""

    def plain(word: re.Match[str]) -> str:
        # Without a point, 12d4 may be a name.
        return (plain_number(word[0]) if "." in word[0] else None) or word[0]

    return re.sub(r"[^\s\"'={}\[\],]+", plain, comment)
