"""A picture of a molecule with its frames as coordinate systems, and of what they make of it."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from experiments.figures.style import AXES, INK, NEUTRAL, POSITIVE, Path, checked, styled
from experiments.tasks.molecules.figures.solids import Solid, arrow, ball_and_stick, move

SHOWN = 8
"""Elements of a frame that get a panel of their own, of larger frames the heaviest."""

_LABELLED = 6
"""Arrows of an axis in the overview that get labels."""

_LIGHT = np.array([-0.35, 0.55, 0.76])
_TABLE, _CANONICAL = (40.0, 25.0), (28.0, -62.0)
"""Angles in degrees: how far from above and from the side a molecule and a canonical one are seen."""

_WIDTH, _OVERVIEW, _PAIR = 1.75, 3.3, 3.5
"""Inches: the width of a pair of panels, and the heights of an overview and of a pair."""
_TOP, _HEAD = 0.95, 1.2
"""Inches: the heights of the title of the picture, and of that of a frame."""

_CAPTION = (
    "Top: all elements; a fraction is the weight of the elements with an axis in that direction.   "
    "Below: each element $(R, t)$,\nand in grey the canonical molecule $(x - t)\\,R$ that it makes, "
    "seen in fixed coordinates."
)


class DrawnFrame(NamedTuple):
    """A frame of a molecule, and what to write next to it.

    Attributes:
      name: of the frame.
      formula: how its elements are made.
      notes: lines on what was measured.
      warning: why it is no frame, or empty.
      linear: the axes of each element as columns.
      shift: their origins.
      weights: their weights.
      labels: what tells an element from the others.
      forms: a number for each element, equal where the canonical molecules are.
    """

    name: str
    formula: str
    notes: tuple[str, ...]
    warning: str
    linear: Float[np.ndarray, "frame 3 3"]
    shift: Float[np.ndarray, "frame 3"]
    weights: Float[np.ndarray, " frame"]
    labels: tuple[str, ...]
    forms: tuple[int, ...]


@styled
def molecule_frames(
    path: Path,
    title: str,
    positions: Float[np.ndarray, "points 3"],
    numbers: Int[np.ndarray, " points"],
    names: Sequence[str],
    frames: Sequence[DrawnFrame],
) -> None:
    """Draws the frames of a molecule side by side.

    On top are all elements of a frame in one picture, where the weights of arrows that agree add up.
    Below are the elements, each as axes in the molecule as it is, and as what it makes of it: the
    canonical molecule `(positions - shift) linear`, in a fixed coordinate system.

    Args:
      path: the image to write; its ending chooses the format.
      title: of the picture.
      positions: of the atoms, in angstrom.
      numbers: their atomic numbers.
      names: how the atoms are called.
      frames: at least one, with elements ordered by falling weight.

    Raises:
      ValueError: an array has another shape than those named here, or values that are not finite.
    """
    positions = checked("positions", positions, (None, 3))
    if not frames or not all(len(frame.weights) for frame in frames):
        raise ValueError("frames is empty, or has a frame without elements; allowed: at least one")
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
    figure.text(0.5, 1 - 0.45 / height, _CAPTION, **style)
    # Large molecules have small atoms.
    sides = int(np.clip(120 / np.sqrt(len(numbers)), 10, 26))
    molecule = ball_and_stick(positions, np.asarray(numbers), sides)
    left = 0.0
    for frame, count in zip(frames, columns, strict=True):
        block = _Block(figure, left, count * _WIDTH, frame, molecule, positions, tuple(names))
        _draw_block(block)
        left += count * _WIDTH
    figure.savefig(path, bbox_inches=None)


def fraction(weight: float) -> str:
    """A weight as one over an integer where it is, as a decimal number elsewhere."""
    parts = round(1 / weight)
    if abs(parts * weight - 1) > 1e-6:
        return f"{weight:.3g}"
    return f"1/{parts}" if parts > 1 else "1"


def size_of(positions: np.ndarray, origin: np.ndarray) -> float:
    """How far the atoms of a molecule reach, in angstrom: to their centres, and to their surfaces."""
    return float(np.max(np.linalg.norm(positions - origin, axis=1))) + 0.4


class _Block(NamedTuple):
    """A part of a picture, with a frame to be drawn into it."""

    figure: Figure
    left: float
    width: float
    frame: DrawnFrame
    molecule: list[Solid]
    positions: np.ndarray
    names: tuple[str, ...]

    def panel(self, left: float, top: float, width: float, height: float) -> Axes:
        """A panel at a place in inches, from the left of the block and the top of the picture."""
        whole, tall = self.figure.get_size_inches()
        place = (
            (self.left + left) / whole,
            1 - (top + height) / tall,
            width / whole,
            height / tall,
        )
        return self.figure.add_axes(place)

    def write(self, left: float, top: float, words: str, **style: Any) -> None:
        """Words at a place in inches."""
        whole, tall = self.figure.get_size_inches()
        self.figure.text((self.left + left) / whole, 1 - top / tall, words, ha="center", **style)

    @property
    def size(self) -> float:
        """How far the atoms reach."""
        return size_of(self.positions, self.frame.shift[0])

    @property
    def view(self) -> np.ndarray:
        """How the molecule is seen."""
        return _view(self.positions - self.positions.mean(axis=0))


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
    solids, tips = list(block.molecule), []
    for axis, colour in enumerate(AXES):
        found = _distinct(frame, axis)
        width = (0.036 if len(found) <= _LABELLED else 0.02) * size
        for place, direction, weight in found:
            # Axes that point the same way stay apart by their lengths.
            length = (1.4 - 0.13 * axis) * size
            faded = _faded(colour, 0.4 + 0.6 * min(1.0, 2 * weight))
            solids.append(arrow(place, length * direction, width, faded))
            if len(found) <= _LABELLED:
                tips.append((axis, place + (length + 0.13 * size) * direction, weight))
    _paint(axes, solids, view, frame.shift[0], 1.5 * size)
    if len(block.names) <= 30:
        for name, position in zip(block.names, block.positions, strict=True):
            _write(axes, (position - frame.shift[0]) @ view.T, name, INK, 7)
    for axis, tip, weight in tips:
        label = f"$e_{axis + 1}$ {fraction(weight)}"
        _write(axes, (tip - frame.shift[0]) @ view.T, label, AXES[axis], 9)


def _draw_element(block: _Block, element: int, left: float, top: float) -> None:
    frame, size = block.frame, block.size
    shift, linear = frame.shift[element], frame.linear[element]
    hand = "+1" if np.linalg.det(linear) > 0 else "−1"
    middle, width, height = left + _WIDTH / 2, _WIDTH - 0.1, 1.45
    block.write(middle, top + 0.16, frame.labels[element], fontsize=10)
    what = f"weight {fraction(frame.weights[element])},  det {hand}"
    block.write(middle, top + 0.32, what, fontsize=8, color=NEUTRAL)
    above = block.panel(left + 0.05, top + 0.34, width, height)
    below = block.panel(left + 0.05, top + 0.34 + height + 0.08, width, height)
    canonical = move(block.molecule, linear, shift)
    fixed = _turn(_CANONICAL[0], 0) @ _upright(_CANONICAL[1])
    for axes, solids, origin, directions, view, letters in (
        (above, block.molecule, shift, linear.T, block.view, ("$e_1$", "$e_2$", "$e_3$")),
        (below, canonical, np.zeros(3), np.eye(3), fixed, ("$x$", "$y$", "$z$")),
    ):
        arrows = [
            arrow(origin, 1.28 * size * direction, 0.05 * size, to_rgb(colour))
            for direction, colour in zip(directions, AXES, strict=True)
        ]
        _paint(axes, [*solids, *arrows], view, origin, 1.5 * size)
        for direction, colour, letter in zip(directions, AXES, letters, strict=True):
            _write(axes, 1.42 * size * direction @ view.T, letter, colour, 9)
    below.set_facecolor("#f1f3f4")
    below.patch.set_visible(True)
    corner: Any = {"xycoords": "axes fraction", "fontsize": 7.5, "color": NEUTRAL}
    below.annotate(f"form {frame.forms[element]}", (0.03, 0.04), **corner)
    between = {"arrowstyle": "-|>", "color": NEUTRAL, "linewidth": 0.8, "mutation_scale": 8}
    down: Any = {"xycoords": "axes fraction", "arrowprops": between, "annotation_clip": False}
    below.annotate("", (0.12, 0.95), (0.12, 1.16), textcoords="axes fraction", **down)


def _distinct(frame: DrawnFrame, axis: int) -> list[tuple[np.ndarray, np.ndarray, float]]:
    """Where an axis of the elements starts and points, and the weight that points there."""
    found: list[tuple[np.ndarray, np.ndarray, float]] = []
    for linear, shift, weight in zip(frame.linear, frame.shift, frame.weights, strict=True):
        direction = linear[:, axis]
        for place, (start, other, total) in enumerate(found):
            if np.allclose(direction, other, atol=1e-4):
                found[place] = (start, other, total + float(weight))
                break
        else:
            found.append((shift, direction, float(weight)))
    return found


def _faded(colour: str, strength: float) -> tuple[float, float, float]:
    red, green, blue = (1 - strength * (1 - part) for part in to_rgb(colour))
    return red, green, blue


def _upright(angle: float) -> np.ndarray:
    """Turns about the third axis, and makes that axis the one that points up."""
    cosine, sine = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    return np.array([[cosine, -sine, 0], [0, 0, 1], [-sine, -cosine, 0]])


def _turn(above: float, aside: float) -> np.ndarray:
    """Turns what is seen, so that it is seen from above and aside."""
    cosine, sine = np.cos(np.deg2rad(above)), np.sin(np.deg2rad(above))
    tilt = np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]])
    cosine, sine = np.cos(np.deg2rad(aside)), np.sin(np.deg2rad(aside))
    return tilt @ np.array([[cosine, 0, sine], [0, 1, 0], [-sine, 0, cosine]])


def _view(arms: np.ndarray) -> np.ndarray:
    """The rows that point right, up and to the viewer: the molecule as if it lay on a table."""
    _, _, (widest, wide, thin) = np.linalg.svd(np.concatenate([arms, np.zeros((3, 3))]))
    thin = np.cross(widest, wide)
    return _turn(*_TABLE) @ np.stack([widest, thin, -wide])


def _paint(
    axes: Axes, solids: Sequence[Solid], view: np.ndarray, centre: np.ndarray, half: float
) -> None:
    """Paints the faces of solids from back to front, lit from above on the left."""
    corners = np.concatenate([each.vertices[each.faces] for each in solids]) - centre
    colours = np.concatenate([np.tile(each.colour, (len(each.faces), 1)) for each in solids])
    corners = corners @ view.T
    normals = np.cross(corners[:, 2] - corners[:, 0], corners[:, 3] - corners[:, 1])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-30)
    order = np.argsort(corners[:, :, 2].mean(axis=1))
    order = order[normals[order, 2] > 0]
    corners, colours, normals = corners[order], colours[order], normals[order]
    lit = np.clip(normals @ (_LIGHT / np.linalg.norm(_LIGHT)), 0, 1)[:, None]
    shine = 0.5 * lit**24
    painted = np.clip(colours * (0.6 + 0.45 * lit), 0, 1) * (1 - shine) + shine
    faces: Any = PolyCollection(
        corners[..., :2], facecolors=painted, edgecolors=painted, linewidths=0.25
    )
    axes.add_collection(faces)
    # The shorter side of the panel shows twice the half.
    box = axes.get_window_extent()
    shorter = min(box.width, box.height)
    axes.set_xlim(-half * box.width / shorter, half * box.width / shorter)
    axes.set_ylim(-half * box.height / shorter, half * box.height / shorter)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    axes.patch.set_visible(False)


def _write(axes: Axes, place: np.ndarray, words: str, colour: str, size: float) -> None:
    outline = [withStroke(linewidth=1.6, foreground="white", alpha=0.85)]
    style: Any = {"color": colour, "fontsize": size, "path_effects": outline}
    axes.text(place[0], place[1], words, ha="center", va="center", **style)
