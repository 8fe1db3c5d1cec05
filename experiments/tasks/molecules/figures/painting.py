"""Solids painted with matplotlib: seen from a direction, lit, and from back to front."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgb
from matplotlib.patheffects import withStroke

from experiments.tasks.molecules.figures.solids import Solid

_LIGHT = np.array([-0.35, 0.55, 0.76])
_MOLECULE, _CANONICAL = (40.0, 25.0), (28.0, -62.0)
"""Degrees from above and from the side that a molecule and a canonical molecule are seen from."""


def view_of_molecule(arms: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "3 3"]:
    """The directions to the right, up and to the viewer, as rows: as if a molecule lay on a table.

    Args:
      arms: positions of the atoms from their mean.
    """
    _, _, (widest, wide, thin) = np.linalg.svd(np.concatenate([arms, np.zeros((3, 3))]))
    thin = np.cross(widest, wide)
    return _tilt(*_MOLECULE) @ np.stack([widest, thin, -wide])


def view_of_canonical() -> Float[np.ndarray, "3 3"]:
    """The same directions of a canonical molecule: the third axis points up."""
    above, aside = _CANONICAL
    return _tilt(above, 0) @ _upright(aside)


def paint(
    axes: Axes,
    solids: Sequence[Solid],
    view: Float[np.ndarray, "3 3"],
    centre: Float[np.ndarray, " 3"],
    half: float,
) -> None:
    """Paints the faces of solids from back to front, lit from above on the left.

    Args:
      axes: the panel.
      solids: what to paint.
      view: the directions to the right, up and to the viewer, as rows.
      centre: the point in the middle of the panel.
      half: half of what the shorter side of the panel shows, in angstrom.
    """
    corners = np.concatenate([solid.vertices[solid.faces] for solid in solids]) - centre
    colours = np.concatenate([np.tile(solid.colour, (len(solid.faces), 1)) for solid in solids])
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
    box = axes.get_window_extent()
    shorter = min(box.width, box.height)
    axes.set_xlim(-half * box.width / shorter, half * box.width / shorter)
    axes.set_ylim(-half * box.height / shorter, half * box.height / shorter)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    axes.patch.set_visible(False)


def write(axes: Axes, point: Float[np.ndarray, " 3"], words: str, colour: str, size: float) -> None:
    """Writes words with a light outline at a point of a view."""
    outline = [withStroke(linewidth=1.6, foreground="white", alpha=0.85)]
    style: Any = {"color": colour, "fontsize": size, "path_effects": outline}
    axes.text(point[0], point[1], words, ha="center", va="center", **style)


def faded(colour: str, strength: float) -> tuple[float, float, float]:
    """A colour mixed with white; of strength 1 it is the colour itself."""
    red, green, blue = (1 - strength * (1 - part) for part in to_rgb(colour))
    return red, green, blue


def _upright(angle: float) -> np.ndarray:
    """Turns about the third axis, and makes that axis the one that points up."""
    cosine, sine = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    return np.array([[cosine, -sine, 0], [0, 0, 1], [-sine, -cosine, 0]])


def _tilt(above: float, aside: float) -> np.ndarray:
    """Turns what is seen, so that it is seen from above and from the side."""
    cosine, sine = np.cos(np.deg2rad(above)), np.sin(np.deg2rad(above))
    tilt = np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]])
    cosine, sine = np.cos(np.deg2rad(aside)), np.sin(np.deg2rad(aside))
    return tilt @ np.array([[cosine, 0, sine], [0, 1, 0], [-sine, 0, cosine]])
