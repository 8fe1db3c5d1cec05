"""Panels of curves: what they hold, and a picture of them."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from experiments.figures.style import INK, Path, checked, styled

COLOURS = (
    *("#0b6e4f", "#c8401f", "#1f5fa8", "#d08700"),
    *("#7b3fa0", "#2a9da8", "#b0578d", "#7f7f7f"),
)
"""The colours of curves, in the order of their names; after the last comes the first again."""
_UNLIKE = 20
"""Ratio of the highest to the lowest curve of a panel above which its axis is logarithmic."""
_DECADES = 3


class Curve(NamedTuple):
    """Points to be drawn.

    Attributes:
      name: the same in all panels that draw the same model.
      x: the abscissae.
      y: the ordinates.
      words: a label for each point, or none.
    """

    name: str
    x: Float[np.ndarray, " points"]
    y: Float[np.ndarray, " points"]
    words: Sequence[str] = ()


class Panel(NamedTuple):
    """Curves that share their axes.

    Attributes:
      title: what they are of.
      x: the quantity along the abscissa, with its unit.
      y: the quantity along the ordinate, with its unit.
      curves: at least one.
      parity: whether both axes show the same quantity, such as predictions against references. Then
        points and the diagonal are drawn instead of lines.
    """

    title: str
    x: str
    y: str
    curves: Sequence[Curve]
    parity: bool = False


def check_panels(panels: Sequence[Panel]) -> list[str]:
    """Checks panels, and names their curves.

    Args:
      panels: the panels to draw.

    Returns:
      The names of all curves, in the order in which they come.

    Raises:
      ValueError: there is nothing to draw, the shapes do not match, or a value is not finite.
    """
    if not panels or not all(panel.curves for panel in panels):
        raise ValueError(
            "panels must be at least one, each with at least one curve, got "
            f"{len(panels)} with {[len(panel.curves) for panel in panels]} curves"
        )
    names: dict[str, None] = {}
    for panel in panels:
        for name, x, y, words in panel.curves:
            length = len(checked(f"x of {name}", x, (None,)))
            checked(f"y of {name}", y, (length,))
            if len(words) not in (0, length):
                raise ValueError(
                    f"words of {name} must be none, or one for each of the {length} points, "
                    f"got {len(words)}"
                )
            names[name] = None
    return list(names)


@styled
def draw_curves(path: Path, panels: Sequence[Panel], columns: int = 2) -> None:
    """Draws panels of lines, row by row.

    Where the curves of a panel have very different heights, the ordinate is linear up to the height
    of the lowest curve and logarithmic above.

    Args:
      path: the image to write; its ending chooses the format.
      panels: the panels to draw.
      columns: panels in a row.

    Raises:
      ValueError: as `check_panels`.
    """
    names = check_panels(panels)
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(5.2 * columns, 2.5 * rows + 0.5), layout="constrained")
    subplots = figure.subplots(rows, columns, squeeze=False).ravel()
    handles = {}
    for axes, panel in zip(subplots, panels, strict=False):
        for name, x, y, _ in panel.curves:
            index = names.index(name)
            dash = ("-", "--", ":")[index // len(COLOURS) % 3]
            colour = COLOURS[index % len(COLOURS)]
            (handles[name],) = axes.plot(x, y, dash, color=colour, linewidth=1, label=name)
        heights = [float(np.max(np.abs(curve.y), initial=0)) for curve in panel.curves]
        if max(heights) > _UNLIKE * min(heights):
            straight = max(min(heights), max(heights) / 10**_DECADES)
            axes.set_yscale("symlog", linthresh=straight)
        axes.set_title(panel.title, loc="left")
        axes.set(xlabel=panel.x, ylabel=panel.y)
        axes.grid(True, axis="y")
        axes.margins(x=0)
    for axes in subplots[len(panels) :]:
        axes.set_visible(False)
    figure.legend(
        [handles[name] for name in names],
        names,
        loc="outside upper center",
        ncols=min(len(names), 4),
        labelcolor=INK,
    )
    figure.savefig(path)
