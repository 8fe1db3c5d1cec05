"""An interactive page of a molecule with its frames, which needs neither a server nor a network."""

import html
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from matplotlib.colors import to_hex, to_rgb

from experiments.errors import UsageError
from experiments.figures.style import AXES, INK, Path
from experiments.files import write_whole
from experiments.tasks.molecules.figures.molecule import DrawnFrame, fraction, size_of
from experiments.tasks.molecules.figures.solids import Solid, arrow, ball_and_stick, move

_FEW, _MOST, _ATOMS = 8, 24, 300
"""Elements of a frame on the page, of larger frames the heaviest: every one is a molecule to turn, so
there are between 8 and 24, with 300 atoms in all."""

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
_LEFT = "the molecule <i>x</i> with elements (<i>R</i>, <i>t</i>) of its frames"
_RIGHT = "the canonical molecule (<i>x</i> − <i>t</i>) <i>R</i> of each"
_HINT = (
    "Drag to rotate, scroll to zoom. Click an element in the list to show or hide it, double-click it "
    "to see it alone; the buttons show whole frames. Elements whose canonical molecules coincide have "
    "the same form. However the group moves the molecule, the axes on the left move with it, and the "
    "canonical molecules stay the same."
)


def interactive_frames(
    path: Path,
    title: str,
    positions: Float[np.ndarray, "points 3"],
    numbers: Int[np.ndarray, " points"],
    names: Sequence[str],
    frames: Sequence[DrawnFrame],
) -> None:
    """Writes a page with a molecule and the elements of its frames, each to be shown or hidden.

    Args:
      path: the HTML file to write; all that it needs is in it.
      title: of the page.
      positions: of the atoms, in angstrom.
      numbers: their atomic numbers.
      names: how the atoms are called.
      frames: at least one, with elements ordered by falling weight.

    Raises:
      UsageError: plotly, which the page is made with, is not installed.
    """
    try:
        from plotly.graph_objects import Figure
    except ImportError:
        raise UsageError(
            "the package plotly, which makes the page, is not installed; allowed: `pip install plotly`"
        ) from None
    molecule = ball_and_stick(positions, np.asarray(numbers), _SIDES)
    most = max(_FEW, min(_MOST, _ATOMS // len(names)))
    size = max(size_of(positions, frame.shift[0]) for frame in frames)
    traces = [_mesh(each, "scene") for each in molecule]
    traces += _axes(np.zeros(3), np.eye(3), size, "scene2", "xyz", {})
    owners = [(-1, -1)] * len(traces)
    for place, frame in enumerate(frames):
        for element in range(min(len(frame.weights), most)):
            drawn = _element(frame, place, element, molecule, size)
            traces += drawn
            owners += [(place, element)] * len(drawn)
    for trace, owner in zip(traces, owners, strict=True):
        trace["visible"] = _shown(owner, (0, 0))
    figure = Figure(data=traces)
    layout = _layout(frames, size)
    if len(names) <= _LABELLED:
        layout["scene"]["annotations"] = _atom_labels(names, positions)
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
    page = _PAGE.format(title=html.escape(title), hint=_HINT, frames=heads, picture=picture)
    write_whole(pathlib.Path(path), page)


def _head(frame: DrawnFrame, most: int) -> str:
    lines = ["<br>".join(html.escape(note) for note in frame.notes)]
    if frame.warning:
        lines.append(f'<span class="warning">{html.escape(frame.warning)}</span>')
    if len(frame.weights) > most:
        lines.append(f"{most} of {len(frame.weights)} elements are listed")
    return f"<div><h2>{html.escape(frame.name)}</h2>{'<br>'.join(lines)}</div>"


def _element(
    frame: DrawnFrame, place: int, element: int, molecule: list[Solid], size: float
) -> list[dict[str, Any]]:
    """One element: its axes, which stand for it in the legend, and its canonical molecule."""
    linear, shift = frame.linear[element], frame.shift[element]
    hand = "+1" if np.linalg.det(linear) > 0 else "−1"
    words = (frame.labels[element], fraction(frame.weights[element]), f"det {hand}")
    label = "   ".join((*words, f"form {frame.forms[element]}"))
    group: dict[str, Any] = {"legendgroup": f"{place} {element}"}
    key: dict[str, Any] = {
        "type": "scatter3d",
        "mode": "markers",
        "x": [None],
        "y": [None],
        "z": [None],
    }
    key |= {
        "name": label,
        "showlegend": True,
        "legend": "legend" if place == 0 else f"legend{place + 1}",
    }
    key |= {"marker": {"color": AXES[0] if hand == "+1" else AXES[2], "symbol": "circle"}}
    drawn = [key | group | {"scene": "scene"}]
    drawn += _axes(shift, linear.T, size, "scene", ("e₁", "e₂", "e₃"), group)
    return drawn + [_mesh(each, "scene2") | group for each in move(molecule, linear, shift)]


def _axes(
    origin: np.ndarray,
    directions: np.ndarray,
    size: float,
    scene: str,
    letters: Sequence[str],
    group: dict[str, Any],
) -> list[dict[str, Any]]:
    drawn = []
    for direction, letter, colour in zip(directions, letters, AXES, strict=True):
        solid = arrow(origin, 1.35 * size * direction, 0.035 * size, to_rgb(colour))
        drawn.append(_mesh(solid, scene) | group)
        tip = (origin + 1.48 * size * direction)[None]
        drawn.append(_words([letter], tip, scene, colour) | group)
    return drawn


def _mesh(solid: Solid, scene: str) -> dict[str, Any]:
    corners = solid.faces[:, [0, 1, 2, 0, 2, 3]].reshape(-1, 3)
    places = dict(zip("xyz", solid.vertices.T.astype(np.float32), strict=True))
    triangles = dict(zip("ijk", corners.T.astype(np.int32), strict=True))
    light = {"ambient": 0.68, "diffuse": 0.6, "specular": 0.25, "roughness": 0.4}
    style = {"color": to_hex(solid.colour), "lighting": light, "hoverinfo": "skip", "scene": scene}
    return {"type": "mesh3d", "showlegend": False} | places | triangles | style


def _words(words: Sequence[str], places: np.ndarray, scene: str, colour: str) -> dict[str, Any]:
    font = {"color": colour, "size": 13}
    style: dict[str, Any] = {"mode": "text", "text": list(words), "textfont": font}
    style |= {"textposition": "middle center", "hoverinfo": "skip"}
    style |= {"type": "scatter3d", "showlegend": False, "scene": scene}
    return style | dict(zip("xyz", places.T, strict=True))


def _atom_labels(names: Sequence[str], positions: np.ndarray) -> list[dict[str, Any]]:
    # Unlike words in a scene, notes are not hidden by atoms.
    style = {"showarrow": False, "font": {"color": INK, "size": 11}, "borderpad": 0}
    style |= {"bgcolor": "rgba(255, 255, 255, 0.6)"}
    return [
        style | {"text": name} | dict(zip("xyz", position.tolist(), strict=True))
        for name, position in zip(names, positions, strict=True)
    ]


def _shown(owner: tuple[int, int], chosen: tuple[int, int | None]) -> bool | str:
    """Whether a trace is visible; those that are not keep their line in the legend."""
    place, element = owner
    return place < 0 or owner == chosen or ((place, None) == chosen) or "legendonly"


def _buttons(frames: Sequence[DrawnFrame], owners: list[tuple[int, int]]) -> dict[str, Any]:
    choices: list[tuple[str, tuple[int, int | None]]] = [("hide all", (-2, None))]
    for place, frame in enumerate(frames):
        choices += [(f"{frame.name}: first", (place, 0)), (f"{frame.name}: all", (place, None))]
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


def _layout(frames: Sequence[DrawnFrame], size: float) -> dict[str, Any]:
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
        for letter, place in zip("xyz", centre, strict=True):
            ends = [float(place) - 1.6 * size, float(place) + 1.6 * size]
            scene[f"{letter}axis"] = {"visible": False, "range": ends}
        layout[name] = scene
        note = {"text": words, "x": left + 0.2, "y": 1.0, "yanchor": "bottom", "showarrow": False}
        notes.append(note | {"xref": "paper", "yref": "paper"})
    layout["annotations"] = notes
    for place, frame in enumerate(frames):
        name = "legend" if place == 0 else f"legend{place + 1}"
        top, share = 1 - place / len(frames), 0.97 / len(frames)
        layout[name] = {"x": 0.82, "y": top, "yanchor": "top", "maxheight": share}
        layout[name] |= {"title": {"text": frame.name}, "groupclick": "togglegroup"}
        layout[name] |= {"tracegroupgap": 0, "itemsizing": "constant"}
    return layout
