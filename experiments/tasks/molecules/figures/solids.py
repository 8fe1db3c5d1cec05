"""Solids of revolution: balls, sticks and arrows, for pictures of molecules in space."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

_SIDES = 16
"""Flat faces around a shaft."""
_PIECES = 8
"""Lengths that a shaft is cut into: long faces, painted from back to front, would hide others."""
_ROD_SIDES, _ROD_PIECES = 6, 24
"""The same of a rod, which is thin and may be as long as a cell."""

_BOND_TOLERANCE = 0.4
"""Angstroms by which a bond may be longer than the sum of two covalent radii."""


class Solid(NamedTuple):
    """A closed surface of one colour.

    Attributes:
      vertices: its corners.
      faces: four corners each, counterclockwise as seen from outside.
      colour: its red, green and blue, between 0 and 1.
    """

    vertices: Float[np.ndarray, "vertices 3"]
    faces: Int[np.ndarray, "faces 4"]
    colour: tuple[float, float, float]


def ball_and_stick(
    positions: Float[np.ndarray, "points 3"], numbers: Int[np.ndarray, " points"], sides: int
) -> list[Solid]:
    """A molecule: atoms in their usual colours, and bonds in the colours of both their atoms.

    Atoms are bonded where they are hardly farther apart than the sum of their covalent radii.

    Args:
      positions: of the atoms, in angstrom.
      numbers: their atomic numbers.
      sides: the flat faces around an atom or a bond.

    Returns:
      One solid for each chemical element.
    """
    from ase.data import covalent_radii
    from ase.data.colors import jmol_colors

    radii = covalent_radii[numbers]
    apart = np.linalg.norm(positions[:, None] - positions[None], axis=-1)
    bonded = apart < radii[:, None] + radii[None] + _BOND_TOLERANCE
    elements = []
    for number in np.unique(numbers):
        red, green, blue = map(float, jmol_colors[min(number, len(jmol_colors) - 1)])
        colour = (red, green, blue)
        parts = []
        for atom in np.flatnonzero(numbers == number):
            centre = positions[atom]
            parts.append(_ball(centre, 0.14 + 0.32 * radii[atom], colour, sides))
            for other in np.flatnonzero(bonded[atom] & (apart[atom] > 0)):
                bond = (positions[other] - centre) / 2
                parts.append(_stick(centre, bond, 0.1, colour, sides))
        elements.append(merge(parts))
    return elements


def arrow(
    start: Float[np.ndarray, " 3"],
    direction: Float[np.ndarray, " 3"],
    width: float,
    colour: tuple[float, float, float],
) -> Solid:
    """An arrow, its shaft `width` thick and its head four times as much."""
    length = float(np.linalg.norm(direction))
    shaft = max(length - 5 * width, length / 2)
    heights = np.linspace(0, shaft, _PIECES + 1)
    outline = [(0.0, 0.0), *((width / 2, height) for height in heights)]
    head = [(2 * width, shaft), (width, (shaft + length) / 2), (0.0, length)]
    return _revolve(np.array(outline + head), start, direction, colour, _SIDES)


def rods(
    lines: Float[np.ndarray, "lines 2 3"], radius: float, colour: tuple[float, float, float]
) -> list[Solid]:
    """Lines between two ends each, as one solid if there are any."""
    pieces = [
        _stick(start, end - start, radius, colour, _ROD_SIDES, _ROD_PIECES) for start, end in lines
    ]
    return [merge(pieces)] if pieces else []


def move(
    solids: list[Solid], linear: Float[np.ndarray, "3 3"], shift: Float[np.ndarray, " 3"]
) -> list[Solid]:
    """Solids in the coordinates of a frame element: `(vertices - shift) linear`."""
    # A reflection turns surfaces inside out.
    step = 1 if np.linalg.det(linear) > 0 else -1
    return [
        Solid((solid.vertices - shift) @ linear, solid.faces[:, ::step], solid.colour)
        for solid in solids
    ]


def merge(solids: list[Solid]) -> Solid:
    """Solids as one, in the colour of the first."""
    starts = np.cumsum([0, *(len(solid.vertices) for solid in solids[:-1])])
    return Solid(
        np.concatenate([solid.vertices for solid in solids]),
        np.concatenate([solid.faces + start for solid, start in zip(solids, starts, strict=True)]),
        solids[0].colour,
    )


def _ball(
    centre: np.ndarray, radius: float, colour: tuple[float, float, float], sides: int
) -> Solid:
    angles = np.linspace(0, np.pi, sides // 2 + 2)
    outline = radius * np.stack([np.sin(angles), -np.cos(angles)], axis=1)
    return _revolve(outline, centre, np.array([0.0, 0.0, 1.0]), colour, sides)


def _stick(
    start: np.ndarray,
    direction: np.ndarray,
    radius: float,
    colour: tuple[float, float, float],
    sides: int,
    pieces: int = _PIECES // 4,
) -> Solid:
    heights = np.linspace(0, np.linalg.norm(direction), pieces + 1)
    outline = np.stack([np.full(len(heights), radius), heights], axis=1)
    return _revolve(outline, start, direction, colour, sides)


def _revolve(
    outline: np.ndarray,
    start: np.ndarray,
    direction: np.ndarray,
    colour: tuple[float, float, float],
    sides: int,
) -> Solid:
    """Turns an outline of (radius, height) about the line from `start` along `direction`."""
    up = direction / np.linalg.norm(direction)
    first = np.cross(up, np.eye(3)[np.argmin(np.abs(up))])
    first /= np.linalg.norm(first)
    angles = 2 * np.pi * np.arange(sides) / sides
    round_it = np.cos(angles)[:, None] * first + np.sin(angles)[:, None] * np.cross(up, first)
    vertices = start + outline[:, None, :1] * round_it + outline[:, None, 1:] * up
    ring, side = np.meshgrid(np.arange(len(outline) - 1), np.arange(sides), indexing="ij")
    after = (side + 1) % sides
    corners = [(ring, side), (ring, after), (ring + 1, after), (ring + 1, side)]
    faces = np.stack([row * sides + column for row, column in corners], axis=-1)
    return Solid(vertices.reshape(-1, 3), faces.reshape(-1, 4), colour)
