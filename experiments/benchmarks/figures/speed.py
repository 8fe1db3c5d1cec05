"""Pictures of the benchmark of speed: times side by side, and growth on logarithmic axes."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from experiments.benchmarks.timing import Spread
from experiments.figures.style import INK, NEUTRAL, VALID, Path, checked, styled

_COLOURS = ("#0b6e4f", "#c8401f", "#1f5fa8", "#d08700", "#7b3fa0", "#333333")


@styled
def time_bars(path: Path, times: Mapping[str, Spread]) -> None:
    """Draws a bar for each time on a logarithmic axis, with its quartiles.

    Args:
      path: the image to write; its ending chooses the format.
      times: the times by name.

    Raises:
      ValueError: there is nothing to draw, or a time is not finite.
    """
    if not times:
        raise ValueError("times must be of at least one name, got none")
    medians, lower, upper = checked("times", list(times.values()), (len(times), 3)).T
    rows = np.arange(len(times))
    figure = Figure(figsize=(8, 0.35 * len(times) + 0.9), layout="constrained")
    axes = figure.subplots()
    spread = np.maximum([medians - lower, upper - medians], 0)
    axes.barh(rows, medians, xerr=spread, color=VALID, error_kw={"ecolor": INK, "lw": 1})
    axes.set_xscale("log")
    axes.set_yticks(rows, list(times))
    axes.invert_yaxis()
    axes.set_xlabel("ms, median and quartiles")
    axes.grid(True, axis="x")
    axes.set_axisbelow(True)
    figure.savefig(path)


@styled
def growth(
    path: Path,
    curves: Mapping[str, Mapping[str, tuple[Sequence[float], Sequence[float], float]]],
    columns: int = 3,
) -> None:
    """Draws a panel for each quantity with curves on logarithmic axes, and their fitted exponents.

    Args:
      path: the image to write; its ending chooses the format.
      curves: for each panel, named `what against size`, curves by name: the sizes, the positive
        values, and the exponent.
      columns: panels in a row.

    Raises:
      ValueError: there is nothing to draw, the shapes do not match, or a value is not finite.
    """
    if not curves:
        raise ValueError("curves must be of at least one panel, got none")
    count = -(-len(curves) // columns)
    figure = Figure(figsize=(3.6 * columns, 3.2 * count), layout="constrained")
    panels = figure.subplots(count, columns, squeeze=False).ravel()
    for axes, (panel, lines) in zip(panels, curves.items(), strict=False):
        for colour, (name, (sizes, values, exponent)) in zip(_COLOURS, lines.items(), strict=False):
            size = checked(f"sizes of {name}", sizes, (None,))
            value = checked(f"values of {name}", values, size.shape)
            label = f"{name}: {exponent:.2f}"
            axes.plot(size, value, "o-", color=colour, markersize=3.5, label=label)
        value_name, _, size_name = panel.partition(" against ")
        axes.set_xscale("log")
        axes.set_yscale("log")
        for axis in (axes.xaxis, axes.yaxis):
            # Beside the powers of ten there is no room for more numbers.
            axis.set_minor_formatter(NullFormatter())
        axes.set_xlabel(size_name)
        axes.set_ylabel(value_name)
        axes.grid(True, color=NEUTRAL, alpha=0.2)
        axes.legend(fontsize=8, title="exponent", title_fontsize=8)
    for axes in panels[len(curves) :]:
        axes.set_axis_off()
    figure.savefig(path)
