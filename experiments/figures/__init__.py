"""Pictures that several tasks draw: pure functions from arrays to files, without a display."""

from experiments.figures.curves import Curve, Panel
from experiments.figures.curves_html import interactive_curves
from experiments.figures.plane import error_bars, learning_curves
from experiments.figures.scatter import Compared, parity, predicted_against_reference
from experiments.figures.solids import equation_of_state, phonon_bands

__all__ = [
    "Compared",
    "Curve",
    "Panel",
    "equation_of_state",
    "error_bars",
    "interactive_curves",
    "learning_curves",
    "parity",
    "phonon_bands",
    "predicted_against_reference",
]
