"""The results of a benchmark: a caption and tables, printed, and written as Markdown and JSON."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console

from experiments.files import write_whole
from experiments.table import markdown_table, print_table


class Table(NamedTuple):
    """Words and numbers in columns."""

    names: Sequence[str]
    rows: Sequence[Sequence[str]]


def print_caption(console: Console, caption: str) -> None:
    """Prints what the numbers of a benchmark mean."""
    console.print(caption, soft_wrap=True, highlight=False, markup=False)


def print_tables(console: Console, *tables: Table) -> None:
    """Prints tables, with an empty line between two."""
    for number, table in enumerate(tables):
        if number:
            console.print()
        print_table(console, *table)


def write_report(
    folder: Path,
    name: str,
    caption: str,
    tables: Iterable[Table],
    numbers: Mapping[str, Any] | None = None,
) -> list[Path]:
    """Writes `<name>.md` and, if there are numbers, `<name>.json`.

    Args:
      folder: where to write.
      name: that of the benchmark.
      caption: what the numbers mean.
      tables: for the page.
      numbers: all that was measured, in the types of JSON. JSON has no NaN and no infinity: they
        become strings.

    Returns:
      The files.
    """
    paths = [folder / f"{name}.md"]
    page = "\n\n".join([caption, *(markdown_table(*table) for table in tables)])
    write_whole(paths[0], f"{page}\n")
    if numbers is not None:
        paths.append(folder / f"{name}.json")
        document = json.dumps(_without_nan(numbers), indent=2, allow_nan=False)
        write_whole(paths[1], f"{document}\n")
    return paths


def print_paths(console: Console, paths: Iterable[Path]) -> None:
    """Prints the files that were written, one a line."""
    for path in paths:
        console.print(f"{path}", soft_wrap=True, highlight=False, markup=False)


def _without_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
