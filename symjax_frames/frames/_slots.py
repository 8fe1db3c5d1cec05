"""The default sizes of padded tables: edges by the node they end at, nodes by their graph."""

import numpy as np

from symjax_frames._checks import is_integer

_MOST_ENTRIES = 2**22
"""Entries of a table that are taken unasked; a robust frame takes a few hundred bytes for each."""


def most_common(values: np.ndarray) -> int:
    """How often the most common of the values occurs, zero if there are none."""
    return int(np.unique(values, return_counts=True)[1].max(initial=0))


def check_entries(name: str, rows: int, slots: int, remedy: str) -> None:
    """Raises if a table with the default number of slots is too large to be made unasked.

    Args:
      name: the option that sets the number of slots.
      rows: the number of rows.
      slots: how many slots each row has by default.
      remedy: how many are needed, or how to know.
    """
    if is_integer(rows) and is_integer(slots) and rows * slots > _MOST_ENTRIES:
        raise ValueError(
            f"{name} must be given, as its default of {slots} makes a table of {rows} x {slots} = "
            f"{rows * slots} entries, more than {_MOST_ENTRIES}; {remedy}"
        )
