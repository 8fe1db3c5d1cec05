"""What a part of the benchmark of speed is: a function from the options to what it has measured."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from experiments.benchmarks.report import Table
from experiments.benchmarks.speed.peers import MISSING
from experiments.benchmarks.timing import Spread

Draw = Callable[[Path], Sequence[Path]]
"""Draws pictures into a folder, and returns their files."""


class Part(NamedTuple):
    """What one part has measured.

    Attributes:
      caption: what the numbers mean.
      tables: for the terminal and the page.
      numbers: all that was measured, in the types of JSON.
      draw: its pictures, or `None`.
    """

    caption: str
    tables: Sequence[Table]
    numbers: Mapping[str, Any]
    draw: Draw | None = None


Measure = Callable[[argparse.Namespace], Part]
"""The function `measure` of the module of a part."""


def shown(time: Spread | None, missing: str = MISSING) -> list[str]:
    """Two cells of a table: the median and the quartiles, or why there is none."""
    if time is None:
        return [missing, ""]
    return [f"{time.median:.4g} ms", f"{time.lower:.4g} to {time.upper:.4g}"]


def times_of(bottom: Spread | None, top: Spread | None) -> str:
    """How many times as long the top takes."""
    if bottom is None or top is None:
        return ""
    return f"{top.median / bottom.median:.2f} x"
