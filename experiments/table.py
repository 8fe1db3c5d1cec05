"""Tables of words and numbers, for a terminal, a pipe and a page."""

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table

Rows = Sequence[Sequence[str]]


def print_table(console: Console, names: Sequence[str], rows: Rows) -> None:
    """Prints a table: drawn on a terminal, aligned columns elsewhere."""
    if console.is_terminal:
        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
        for name, *column in zip(names, *rows, strict=True):
            # Lines may wrap in a narrow window, words and numbers must not.
            words = [word for cell in column for word in cell.split()]
            table.add_column(name, min_width=max(map(len, words), default=0))
        for row in rows:
            table.add_row(*row)
        console.print(table)
        return
    widths = [max(map(len, column)) for column in zip(names, *rows, strict=True)]
    for row in [names, *rows]:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        console.print("  ".join(cells).rstrip(), soft_wrap=True, highlight=False, markup=False)


def markdown_table(names: Sequence[str], rows: Rows) -> str:
    """The table as Markdown."""
    lines = [names, ["---"] * len(names), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def number(value: float | None) -> str:
    """A number with four significant figures, or a dash."""
    return "-" if value is None else f"{value:.4g}"


def spread(mean: float, deviation: float | None) -> str:
    """A mean and the deviation around it, if there is one."""
    return number(mean) if deviation is None else f"{number(mean)} ± {deviation:.2g}"
