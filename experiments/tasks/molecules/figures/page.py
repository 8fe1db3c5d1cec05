"""An interactive page of a molecule with its frames, which needs neither a server nor a network."""

import html
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from matplotlib.colors import to_rgb

from experiments.errors import UsageError
from experiments.figures.style import INK, NEUTRAL, Path
from experiments.files import write_whole
from experiments.tasks.molecules.figures.drawn_frame import NO_CELL, DrawnFrame, size_of
from experiments.tasks.molecules.figures.solids import ball_and_stick, rods
from experiments.tasks.molecules.figures.traces import atom_labels, axes, element, legend, mesh

_FEW, _MOST, _ATOMS = 8, 24, 300
"""Elements of a frame on the page, of larger frames the heaviest: between 8 and 24, with 300 atoms
in all, because each is a molecule that the browser turns."""

_LABELLED = 30
"""Atoms that are called by their names, of molecules with no more."""

_SIDES = 12
"""Flat faces around an atom, which are shaded as if it were round."""

_PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<style>
body {{ margin: 0; height: 100vh; display: flex; flex-direction: column; overflow-x: hidden;
  font: 14px/1.45 system-ui, sans-serif; color: #333; }}
header {{ padding: 14px 24px 0; }}
h1 {{ font-size: 21px; margin: 0 0 2px; }}
h2 {{ font-size: 14px; margin: 0; }}
p {{ margin: 0 0 6px; max-width: 75em; }}
.frames {{ display: flex; flex-wrap: wrap; gap: 4px 48px; color: #777; font-size: 13px; }}
.warning {{ color: #c8401f; }}
.picture {{ flex: 1; min-height: 420px; }}
.picture > div {{ height: 100%; }}
</style>
</head>
<body>
<header>
<h1>{title}</h1>
<p>{hint}</p>
<div class="frames">{frames}</div>
</header>
<div class="picture">{picture}</div>
</body>
</html>
"""
_LEFT = "the {noun} <i>x</i> with elements (<i>R</i>, <i>t</i>) of its frames"
_RIGHT = "the canonical {noun} (<i>x</i> − <i>t</i>) <i>R</i> of each"
_HINT = (
    "Drag to rotate, scroll to zoom. Click an element in the list to show or hide it, double-click "
    "it to see it alone; the buttons show whole frames. Elements whose canonical {noun}s coincide "
    "have the same form. However the group moves the {noun}, the axes on the left move with it, "
    "and the canonical {noun}s stay the same."
)


def interactive_frames(
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
    """Writes a page with a molecule and the elements of its frames, each to be shown or hidden.

    Args:
      path: the HTML file to write; all that it needs is in it.
      title: of the page.
      positions: of the atoms, in angstrom.
      numbers: their atomic numbers.
      names: how the atoms are called.
      frames: at least one, with elements ordered by falling weight.
      cell: the ends of lines to draw around the atoms, in angstrom.
      noun: what the atoms are together.

    Raises:
      UsageError: plotly, which the page is made with, is not installed.
    """
    try:
        from plotly.graph_objects import Figure
    except ImportError:
        raise UsageError(
            "the package plotly, which makes the page, must be installed (`pip install plotly`)"
        ) from None
    molecule = ball_and_stick(positions, np.asarray(numbers), _SIDES)
    most = max(_FEW, min(_MOST, _ATOMS // len(names)))
    size = max(size_of(positions, frame.shift[0]) for frame in frames)
    lines = rods(cell, 0.04, to_rgb(NEUTRAL))
    traces = [mesh(solid, "scene") for solid in molecule + lines]
    traces += axes(np.zeros(3), np.eye(3), size, "scene2", "xyz", {})
    owners = [(-1, -1)] * len(traces)
    for index, frame in enumerate(frames):
        for number in range(min(len(frame.weights), most)):
            drawn = element(frame, index, number, molecule, size)
            traces += drawn
            owners += [(index, number)] * len(drawn)
    for trace, owner in zip(traces, owners, strict=True):
        trace["visible"] = _shown(owner, (0, 0))
    figure = Figure(data=traces)
    layout = _layout(frames, size, noun)
    if len(names) <= _LABELLED:
        layout["scene"]["annotations"] = atom_labels(names, positions)
    figure.update_layout(layout, updatemenus=[_buttons(frames, owners)])
    options = {"displaylogo": False, "responsive": True}
    picture = figure.to_html(
        full_html=False,
        include_plotlyjs=True,
        config=options,
        default_height="100%",
        div_id="molecule",
    )
    heads = "".join(_head(frame, most) for frame in frames)
    hint = _HINT.format(noun=noun)
    page = _PAGE.format(title=html.escape(title), hint=hint, frames=heads, picture=picture)
    write_whole(pathlib.Path(path), page)


def _head(frame: DrawnFrame, most: int) -> str:
    lines = ["<br>".join(html.escape(note) for note in frame.notes)]
    if frame.warning:
        lines.append(f'<span class="warning">{html.escape(frame.warning)}</span>')
    if len(frame.weights) > most:
        lines.append(f"{most} of {len(frame.weights)} elements are listed")
    return f"<div><h2>{html.escape(frame.name)}</h2>{'<br>'.join(lines)}</div>"


def _shown(owner: tuple[int, int], chosen: tuple[int, int | None]) -> bool | str:
    """Whether a trace is visible; those that are not keep their line in the legend."""
    frame, _ = owner
    return frame < 0 or owner == chosen or ((frame, None) == chosen) or "legendonly"


def _buttons(frames: Sequence[DrawnFrame], owners: list[tuple[int, int]]) -> dict[str, Any]:
    choices: list[tuple[str, tuple[int, int | None]]] = [("hide all", (-2, None))]
    for index, frame in enumerate(frames):
        choices += [(f"{frame.name}: first", (index, 0)), (f"{frame.name}: all", (index, None))]
    buttons = [
        {
            "label": label,
            "method": "restyle",
            "args": [{"visible": [_shown(owner, chosen) for owner in owners]}],
        }
        for label, chosen in choices
    ]
    row: dict[str, Any] = {"type": "buttons", "direction": "right", "showactive": False}
    row |= {"x": 0, "y": 0, "xanchor": "left", "yanchor": "top", "pad": {"t": 8}}
    return row | {"buttons": buttons}


def _layout(frames: Sequence[DrawnFrame], size: float, noun: str) -> dict[str, Any]:
    middle = frames[0].shift[0]
    layout: dict[str, Any] = {
        "font": {"color": INK},
        "margin": {"l": 10, "r": 10, "t": 30, "b": 50},
    }
    notes = []
    for name, words, centre, left in (
        ("scene", _LEFT, middle, 0.0),
        ("scene2", _RIGHT, np.zeros(3), 0.4),
    ):
        ratio = dict.fromkeys("xyz", 1.7)
        scene: dict[str, Any] = {"aspectmode": "manual", "aspectratio": ratio}
        scene["domain"] = {"x": [left, left + 0.4]}
        eye = {"x": 1.3, "y": -1.1, "z": 0.8}
        scene["camera"] = {"eye": eye, "projection": {"type": "orthographic"}}
        for letter, coordinate in zip("xyz", centre, strict=True):
            ends = [float(coordinate) - 1.6 * size, float(coordinate) + 1.6 * size]
            scene[f"{letter}axis"] = {"visible": False, "range": ends}
        layout[name] = scene
        note = {
            "text": words.format(noun=noun),
            "x": left + 0.2,
            "y": 1.0,
            "yanchor": "bottom",
            "showarrow": False,
        }
        notes.append(note | {"xref": "paper", "yref": "paper"})
    layout["annotations"] = notes
    for index, frame in enumerate(frames):
        name = legend(index)
        top, share = 1 - index / len(frames), 0.97 / len(frames)
        layout[name] = {"x": 0.82, "y": top, "yanchor": "top", "maxheight": share}
        layout[name] |= {"title": {"text": frame.name}, "groupclick": "togglegroup"}
        layout[name] |= {"tracegroupgap": 0, "itemsizing": "constant"}
    return layout
