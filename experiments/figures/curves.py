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
"""Of the curves, which are drawn in the order in which their names come; then from the start again."""
_UNLIKE = 20
"""Ratio of the largest to the smallest curve of a panel above which a straight axis shows only one."""
_DECADES = 3


class Curve(NamedTuple):
    """Points to be drawn.

    Attributes:
      name: the same in every panel in which the same thing is drawn.
      x: the abscissae.
      y: the ordinates.
      words: what to say of each point, or nothing.
    """

    name: str
    x: Float[np.ndarray, " points"]
    y: Float[np.ndarray, " points"]
    words: Sequence[str] = ()


class Panel(NamedTuple):
    """Curves that share their axes.

    Attributes:
      title: what they are of.
      x: what the abscissa is, with its unit.
      y: what the ordinate is, with its unit.
      curves: at least one.
      parity: whether both axes are of one kind, so that points would best lie on the diagonal; they
        are drawn as points with this line instead of as lines.
    """

    title: str
    x: str
    y: str
    curves: Sequence[Curve]
    parity: bool = False


def check_panels(panels: Sequence[Panel]) -> list[str]:
    """Refuses what cannot be drawn.

    Args:
      panels: what is to be drawn.

    Returns:
      The names of all curves, in the order in which they come.

    Raises:
      ValueError: there is nothing to draw, the shapes do not match, or a value is not finite.
    """
    if not panels or not all(panel.curves for panel in panels):
        raise ValueError(
            f"panels: received {len(panels)}, with {[len(panel.curves) for panel in panels]} curves; "
            "allowed: at least one, with at least one curve each"
        )
    names: dict[str, None] = {}
    for panel in panels:
        for name, x, y, words in panel.curves:
            length = len(checked(f"x of {name}", x, (None,)))
            checked(f"y of {name}", y, (length,))
            if len(words) not in (0, length):
                raise ValueError(
                    f"words of {name}: received {len(words)}; allowed: none, or {length}"
                )
            names[name] = None
    return list(names)


@styled
def draw_curves(path: Path, panels: Sequence[Panel], columns: int = 2) -> None:
    """Draws panels of lines, row by row.

    The ordinate is straight up to the height of the lowest curve and logarithmic above, where curves
    are of very different heights.

    Args:
      path: the image to write; its ending chooses the format.
      panels: what to draw.
      columns: panels in a row.

    Raises:
      ValueError: as `check_panels`.
    """
    names = check_panels(panels)
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(5.2 * columns, 2.5 * rows + 0.5), layout="constrained")
    places = figure.subplots(rows, columns, squeeze=False).ravel()
    handles = {}
    for axes, panel in zip(places, panels, strict=False):
        for name, x, y, _ in panel.curves:
            place = names.index(name)
            dash = ("-", "--", ":")[place // len(COLOURS) % 3]
            colour = COLOURS[place % len(COLOURS)]
            (handles[name],) = axes.plot(x, y, dash, color=colour, linewidth=1, label=name)
        heights = [float(np.max(np.abs(curve.y), initial=0)) for curve in panel.curves]
        if max(heights) > _UNLIKE * min(heights):
            straight = max(min(heights), max(heights) / 10**_DECADES)
            axes.set_yscale("symlog", linthresh=straight)
        axes.set_title(panel.title, loc="left")
        axes.set(xlabel=panel.x, ylabel=panel.y)
        axes.grid(True, axis="y")
        axes.margins(x=0)
    for axes in places[len(panels) :]:
        axes.set_visible(False)
    figure.legend(
        [handles[name] for name in names],
        names,
        loc="outside upper center",
        ncols=min(len(names), 4),
        labelcolor=INK,
    )
    figure.savefig(path)
