"""A picture of a molecule with its frames as coordinate systems, and its canonical molecules."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from experiments.figures.style import AXES, INK, NEUTRAL, POSITIVE, Path, checked, styled
from experiments.tasks.molecules.figures.drawn_frame import (
    NO_CELL,
    DrawnFrame,
    fraction,
    size_of,
)
from experiments.tasks.molecules.figures.painting import (
    faded,
    paint,
    view_of_canonical,
    view_of_molecule,
    write,
)
from experiments.tasks.molecules.figures.solids import Solid, arrow, ball_and_stick, move, rods

SHOWN = 8
"""Elements of a frame that get a panel of their own, of larger frames the heaviest."""

_LABELLED = 6
"""Arrows of an axis in the overview that get labels."""

_WIDTH, _OVERVIEW, _PAIR = 1.75, 3.3, 3.5
"""Inches: the width of a pair of panels, and the heights of an overview and of a pair."""
_TOP, _HEAD = 0.95, 1.2
"""Inches: the heights of the title of the picture, and of that of a frame."""

_CAPTION = (
    "Top: all elements; a fraction is the weight of the elements with an axis in that direction.   "
    "Below: each element $(R, t)$,\nand in grey the canonical {noun} $(x - t)\\,R$ that it "
    "makes, seen in fixed coordinates."
)


@styled
def molecule_frames(
    path: Path,
    title: str,
    positions: Float[np.ndarray, "points 3"],
    numbers: Int[np.ndarray, " points"],
    names: Sequence[str],
    frames: Sequence[DrawnFrame],
    *,
    cell: Float[np.ndarray, "edges 2 3"] = NO_CELL,
    noun: str = "molecule",
) -> None:
    """Draws the frames of a molecule side by side.

    On top are all elements of a frame in one picture, where the weights of arrows that agree add
    up. Below, each element is drawn twice: as axes in the molecule as it is, and by the canonical
    molecule that it makes, `(positions - shift) linear`, in a fixed coordinate system.

    Args:
      path: the image to write; its ending chooses the format.
      title: of the picture.
      positions: of the atoms, in angstrom.
      numbers: their atomic numbers.
      names: how the atoms are called.
      frames: at least one, with elements ordered by falling weight.
      cell: the ends of lines to draw around the atoms, in angstrom.
      noun: what the atoms are together.

    Raises:
      ValueError: an array has another shape than those named here, or values that are not finite.
    """
    positions = checked("positions", positions, (None, 3))
    if not frames or not all(len(frame.weights) for frame in frames):
        sizes = [len(frame.weights) for frame in frames]
        raise ValueError(f"frames must be one or more, each with elements, got the sizes {sizes}")
    for frame in frames:
        count = len(checked("weights", frame.weights, (None,)))
        checked("linear", frame.linear, (count, 3, 3))
        checked("shift", frame.shift, (count, 3))
    shown = [min(len(frame.weights), SHOWN) for frame in frames]
    least = 4 if len(frames) == 1 else 2
    columns = [max(least, -(-count // 2)) for count in shown]
    height = _TOP + _HEAD + _OVERVIEW + _PAIR * min(2, max(shown))
    figure = Figure(figsize=(_WIDTH * sum(columns), height))
    figure.text(0.5, 1 - 0.32 / height, title, ha="center", fontsize=16)
    style: Any = {"ha": "center", "va": "top", "color": NEUTRAL, "fontsize": 8.5}
    figure.text(0.5, 1 - 0.45 / height, _CAPTION.format(noun=noun), **style)
    # Large molecules have small atoms.
    sides = int(np.clip(120 / np.sqrt(len(numbers)), 10, 26))
    molecule = ball_and_stick(positions, np.asarray(numbers), sides)
    lines = rods(checked("cell", cell, (None, 2, 3)), 0.04, faded(NEUTRAL, 0.8))
    # A crystal has no plane that it lies in.
    view = view_of_canonical() if lines else view_of_molecule(positions - positions.mean(axis=0))
    left = 0.0
    for frame, count in zip(frames, columns, strict=True):
        block = _Block(
            figure, left, count * _WIDTH, frame, molecule, lines, view, positions, tuple(names)
        )
        _draw_block(block)
        left += count * _WIDTH
    figure.savefig(path, bbox_inches=None)


class _Block(NamedTuple):
    """A part of a picture, with a frame to be drawn into it."""

    figure: Figure
    left: float
    width: float
    frame: DrawnFrame
    molecule: list[Solid]
    cell: list[Solid]
    view: np.ndarray
    positions: np.ndarray
    names: tuple[str, ...]

    def panel(self, left: float, top: float, width: float, height: float) -> Axes:
        """A panel, measured in inches from the left of the block and the top of the picture."""
        whole, tall = self.figure.get_size_inches()
        rectangle = (
            (self.left + left) / whole,
            1 - (top + height) / tall,
            width / whole,
            height / tall,
        )
        return self.figure.add_axes(rectangle)

    def write(self, left: float, top: float, words: str, **style: Any) -> None:
        """Writes words, centred at a point that is measured as a panel is."""
        whole, tall = self.figure.get_size_inches()
        self.figure.text((self.left + left) / whole, 1 - top / tall, words, ha="center", **style)

    @property
    def size(self) -> float:
        """How far the atoms reach."""
        return size_of(self.positions, self.frame.shift[0])


def _draw_block(block: _Block) -> None:
    frame, middle = block.frame, block.width / 2
    block.write(middle, _TOP + 0.2, frame.name, fontsize=13, weight="bold")
    block.write(middle, _TOP + 0.43, frame.formula, fontsize=10.5)
    for line, note in enumerate(frame.notes):
        block.write(middle, _TOP + 0.64 + 0.17 * line, note, fontsize=8.5, color=NEUTRAL)
    below = _TOP + 0.64 + 0.17 * len(frame.notes)
    block.write(middle, below, frame.warning, fontsize=8.5, color=POSITIVE)
    _draw_overview(block, block.panel(0, _TOP + _HEAD, block.width, _OVERVIEW))
    count = len(frame.weights)
    if count > SHOWN:
        words = f"{SHOWN} of {count} elements:"
        block.write(middle, _TOP + _HEAD + _OVERVIEW - 0.02, words, fontsize=8.5, color=NEUTRAL)
    shown = min(count, SHOWN)
    columns = -(-shown // min(2, shown))
    margin = (block.width - columns * _WIDTH) / 2
    for element in range(shown):
        row, column = divmod(element, columns)
        top = _TOP + _HEAD + _OVERVIEW + row * _PAIR
        _draw_element(block, element, margin + column * _WIDTH, top)


def _draw_overview(block: _Block, axes: Axes) -> None:
    frame, size, view = block.frame, block.size, block.view
    solids, tips = [*block.molecule, *block.cell], []
    for axis, colour in enumerate(AXES):
        directions = _directions(frame, axis)
        labelled = len(directions) <= _LABELLED
        width = (0.036 if labelled else 0.02) * size
        for start, direction, weight in directions:
            # Axes that point the same way stay apart by their lengths.
            length = (1.4 - 0.13 * axis) * size
            shade = faded(colour, 0.4 + 0.6 * min(1.0, 2 * weight))
            solids.append(arrow(start, length * direction, width, shade))
            if labelled:
                tips.append((axis, start + (length + 0.13 * size) * direction, weight))
    paint(axes, solids, view, frame.shift[0], 1.5 * size)
    if len(block.names) <= 30:
        for name, position in zip(block.names, block.positions, strict=True):
            write(axes, (position - frame.shift[0]) @ view.T, name, INK, 7)
    for axis, tip, weight in tips:
        label = f"$e_{axis + 1}$ {fraction(weight)}"
        write(axes, (tip - frame.shift[0]) @ view.T, label, AXES[axis], 9)


def _draw_element(block: _Block, element: int, left: float, top: float) -> None:
    frame, size = block.frame, block.size
    shift, linear = frame.shift[element], frame.linear[element]
    hand = "+1" if np.linalg.det(linear) > 0 else "−1"
    middle, width, height = left + _WIDTH / 2, _WIDTH - 0.1, 1.45
    block.write(middle, top + 0.16, frame.labels[element], fontsize=10)
    weight = f"weight {fraction(frame.weights[element])},  det {hand}"
    block.write(middle, top + 0.32, weight, fontsize=8, color=NEUTRAL)
    above = block.panel(left + 0.05, top + 0.34, width, height)
    below = block.panel(left + 0.05, top + 0.34 + height + 0.08, width, height)
    canonical = move(block.molecule, linear, shift)
    for axes, solids, origin, directions, view, letters in (
        (
            above,
            block.molecule + block.cell,
            shift,
            linear.T,
            block.view,
            ("$e_1$", "$e_2$", "$e_3$"),
        ),
        (below, canonical, np.zeros(3), np.eye(3), view_of_canonical(), ("$x$", "$y$", "$z$")),
    ):
        arrows = [
            arrow(origin, 1.28 * size * direction, 0.05 * size, to_rgb(colour))
            for direction, colour in zip(directions, AXES, strict=True)
        ]
        paint(axes, [*solids, *arrows], view, origin, 1.5 * size)
        for direction, colour, letter in zip(directions, AXES, letters, strict=True):
            write(axes, 1.42 * size * direction @ view.T, letter, colour, 9)
    below.set_facecolor("#f1f3f4")
    below.patch.set_visible(True)
    corner: Any = {"xycoords": "axes fraction", "fontsize": 7.5, "color": NEUTRAL}
    below.annotate(f"form {frame.forms[element]}", (0.03, 0.04), **corner)
    between = {"arrowstyle": "-|>", "color": NEUTRAL, "linewidth": 0.8, "mutation_scale": 8}
    down: Any = {"xycoords": "axes fraction", "arrowprops": between, "annotation_clip": False}
    below.annotate("", (0.12, 0.95), (0.12, 1.16), textcoords="axes fraction", **down)


def _directions(frame: DrawnFrame, axis: int) -> list[tuple[np.ndarray, np.ndarray, float]]:
    """Where an axis of the elements starts, where it points, and the weight that points there."""
    directions: list[tuple[np.ndarray, np.ndarray, float]] = []
    for linear, shift, weight in zip(frame.linear, frame.shift, frame.weights, strict=True):
        direction = linear[:, axis]
        for index, (start, other, total) in enumerate(directions):
            if np.allclose(direction, other, atol=1e-4):
                directions[index] = (start, other, total + float(weight))
                break
        else:
            directions.append((shift, direction, float(weight)))
    return directions
