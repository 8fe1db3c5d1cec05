"""A frame of a molecule, with what is to be written next to it."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

NO_CELL = np.zeros((0, 2, 3))
"""The lines around a molecule."""


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


def fraction(weight: float) -> str:
    """A weight as one over an integer where it is, as a decimal number elsewhere."""
    parts = round(1 / weight)
    if abs(parts * weight - 1) > 1e-6:
        return f"{weight:.3g}"
    return f"1/{parts}" if parts > 1 else "1"


def size_of(positions: np.ndarray, origin: np.ndarray) -> float:
    """How far the surfaces of the atoms of a molecule reach from an origin, in angstrom."""
    return float(np.max(np.linalg.norm(positions - origin, axis=1))) + 0.4
