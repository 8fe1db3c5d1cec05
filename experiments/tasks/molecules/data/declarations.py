"""Units that a file declares, wherever its format has a place for them."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from experiments.tasks.molecules.data.unit_names import SCALES, known_unit

# Words beside `unit` that say nothing of what it is the unit of.
_EMPTY = frozenset(
    "unit units of in the dict json property properties data metadata meta info key value pairs "
    "default system".split()
)
# In a sentence: gold, an article ...
_AMBIGUOUS = ("a", "au", "d", "ha")


class Declaration(NamedTuple):
    """One unit, or one text about all units.

    Attributes:
      name: what the file calls it, such as `energy_unit` or `units/energy`.
      of: what it is the unit of, as `stem_of` writes it; empty for all quantities.
      unit: text or a number in eV, Angstrom and elementary charges; `None` where it cannot be read.
    """

    name: str
    of: str
    unit: str | float | None


def declarations(values: Mapping[str, object], path: tuple[str, ...] = ()) -> Iterator[Declaration]:
    """The units among names and values: `energy_unit`, `unit_of_energy`, `units`, mappings of them.

    Args:
      values: text, numbers, arrays, mappings of these or mappings written as JSON; most are no
        units. An array of objects stands for what was not read. Keys that are true are the words of
        a comment.
      path: names that the mapping is found by.

    Returns:
      Each unit, in order.
    """
    yield from _in_words([name for name, value in values.items() if value is True])
    for name, received in values.items():
        here = (*path, str(name))
        value = _plain(received)
        if isinstance(value, Mapping):
            yield from declarations(value, here)
            continue
        unread = isinstance(received, np.ndarray) and received.dtype == object
        if isinstance(value, str | float) or (unread and value is None):
            of = _subject(here)
            stated = not isinstance(value, str) or value.strip() not in ("", "None")
            # A lone number called `units` counts something.
            if of is not None and stated and not (of == "" and isinstance(value, float)):
                yield Declaration("/".join(here), of, value)


def stem_of(name: str) -> str:
    """The words of a name that say what it is of: `ref_energy` for `REF_energy_unit`."""
    return "_".join(word for word in _words(name) if word not in _EMPTY)


def _in_words(words: Sequence[str]) -> Iterator[Declaration]:
    """The units in a comment such as `coordinates in bohr`, whose words are keys that are true."""
    plain = [word.strip(",;:()[]") for word in words]
    if {"in", "unit", "units"} & {word.lower() for word in plain}:
        for word in plain:
            known = any(known_unit(quantity, word) for quantity in SCALES)
            if known and word.lower() not in _AMBIGUOUS:
                yield Declaration("comment", "", word)


def _plain(value: object) -> object:
    """Text, a number or a mapping; anything else for what can be no unit."""
    if isinstance(value, np.ndarray) and (value.dtype.kind in "USO" or value.size == 1):
        value = value.ravel().tolist() if value.size != 1 else value.item()
    if isinstance(value, list | tuple) and all(isinstance(item, str | bytes) for item in value):
        value = " ".join(str(_plain(item)) for item in value)
    if isinstance(value, bytes):
        value = value.decode("utf-8", errors="replace")
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            return json.loads(value)
        except ValueError:
            return value
    if isinstance(value, int | float | np.number) and not isinstance(value, bool):
        return float(value)
    return value


def _subject(path: tuple[str, ...]) -> str | None:
    """What a value at a path is the unit of, `None` if it is no unit."""
    for place, name in enumerate(path):
        if {"unit", "units"} & set(_words(name)):
            # `units/energy` and `energy/unit` say the same.
            near = (*reversed(path[place:]), *path[max(0, place - 1) : place])
            return next(filter(None, map(stem_of, near)), "")
    return None


def _words(name: str) -> list[str]:
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name) or [""]
    *rest, last = [word.lower() for word in words]
    joined = re.fullmatch(r"(.+?)(units?)", last)
    return [*rest, *(joined.groups() if joined else (last,))]
