"""Pictures that several tasks draw: pure functions from arrays to files, without a display."""

from experiments.figures.curves import Curve, Panel
from experiments.figures.curves_html import interactive_curves
from experiments.figures.plane import error_bars, learning_curves
from experiments.figures.scatter import predicted_against_reference

__all__ = [
    "Curve",
    "Panel",
    "error_bars",
    "interactive_curves",
    "learning_curves",
    "predicted_against_reference",
]
