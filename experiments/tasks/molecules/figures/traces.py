"""What a page of plotly draws: the elements of a frame, as axes and as canonical molecules."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.colors import to_hex, to_rgb

from experiments.figures.style import AXES, INK
from experiments.tasks.molecules.figures.drawn_frame import DrawnFrame, fraction
from experiments.tasks.molecules.figures.solids import Solid, arrow, move


def element(
    frame: DrawnFrame, index: int, number: int, molecule: list[Solid], size: float
) -> list[dict[str, Any]]:
    """One element: its axes, which stand for it in the legend, and its canonical molecule.

    Args:
      frame: the frame.
      index: of the frame among those on the page, from 0.
      number: of the element in the frame, from 0.
      molecule: solids of the molecule as it is.
      size: how far the molecule reaches, in angstrom.
    """
    linear, shift = frame.linear[number], frame.shift[number]
    hand = "+1" if np.linalg.det(linear) > 0 else "−1"
    words = (frame.labels[number], fraction(frame.weights[number]), f"det {hand}")
    label = "   ".join((*words, f"form {frame.forms[number]}"))
    group: dict[str, Any] = {"legendgroup": f"{index} {number}"}
    key: dict[str, Any] = {"type": "scatter3d", "mode": "markers"} | dict.fromkeys("xyz", [None])
    key |= {"name": label, "showlegend": True, "legend": legend(index)}
    key |= {"marker": {"color": AXES[0] if hand == "+1" else AXES[2], "symbol": "circle"}}
    drawn = [key | group | {"scene": "scene"}]
    drawn += axes(shift, linear.T, size, "scene", ("e₁", "e₂", "e₃"), group)
    return drawn + [mesh(solid, "scene2") | group for solid in move(molecule, linear, shift)]


def legend(index: int) -> str:
    """What the layout of plotly calls the legend of a frame, by its number from 0."""
    return "legend" if index == 0 else f"legend{index + 1}"


def axes(
    origin: np.ndarray,
    directions: np.ndarray,
    size: float,
    scene: str,
    letters: Sequence[str],
    group: dict[str, Any],
) -> list[dict[str, Any]]:
    """Three arrows from an origin, along the rows of `directions`, with letters at their tips."""
    drawn = []
    for direction, letter, colour in zip(directions, letters, AXES, strict=True):
        solid = arrow(origin, 1.35 * size * direction, 0.035 * size, to_rgb(colour))
        drawn.append(mesh(solid, scene) | group)
        tip = (origin + 1.48 * size * direction)[None]
        drawn.append(_words([letter], tip, scene, colour) | group)
    return drawn


def mesh(solid: Solid, scene: str) -> dict[str, Any]:
    """The surface of a solid, in triangles."""
    corners = solid.faces[:, [0, 1, 2, 0, 2, 3]].reshape(-1, 3)
    points = dict(zip("xyz", solid.vertices.T.astype(np.float32), strict=True))
    triangles = dict(zip("ijk", corners.T.astype(np.int32), strict=True))
    light = {"ambient": 0.68, "diffuse": 0.6, "specular": 0.25, "roughness": 0.4}
    style = {"color": to_hex(solid.colour), "lighting": light, "hoverinfo": "skip", "scene": scene}
    return {"type": "mesh3d", "showlegend": False} | points | triangles | style


def _words(words: Sequence[str], points: np.ndarray, scene: str, colour: str) -> dict[str, Any]:
    font = {"color": colour, "size": 13}
    style: dict[str, Any] = {"mode": "text", "text": list(words), "textfont": font}
    style |= {"textposition": "middle center", "hoverinfo": "skip"}
    style |= {"type": "scatter3d", "showlegend": False, "scene": scene}
    return style | dict(zip("xyz", points.T, strict=True))


def atom_labels(names: Sequence[str], positions: np.ndarray) -> list[dict[str, Any]]:
    """The names of atoms, as annotations of a scene."""
    # Words in a scene are hidden by atoms; annotations are not.
    style = {"showarrow": False, "font": {"color": INK, "size": 11}, "borderpad": 0}
    style |= {"bgcolor": "rgba(255, 255, 255, 0.6)"}
    return [
        style | {"text": name} | dict(zip("xyz", position.tolist(), strict=True))
        for name, position in zip(names, positions, strict=True)
    ]
