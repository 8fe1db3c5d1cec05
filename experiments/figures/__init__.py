"""The pictures of a report: pure functions from arrays to image files, without a display."""

from experiments.figures.curves import Curve, Panel
from experiments.figures.curves_html import interactive_curves
from experiments.figures.identities import identity_errors
from experiments.figures.images import angle_profiles, feature_maps
from experiments.figures.plane import error_bars, learning_curves
from experiments.figures.scatter import predicted_against_reference
from experiments.figures.space import frame_axes, predicted_trajectories

__all__ = [
    "Curve",
    "Panel",
    "angle_profiles",
    "error_bars",
    "feature_maps",
    "frame_axes",
    "identity_errors",
    "interactive_curves",
    "learning_curves",
    "predicted_against_reference",
    "predicted_trajectories",
]
