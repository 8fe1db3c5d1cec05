"""The pictures of a report: pure functions from arrays to image files, without a display."""

from experiments.figures.plane import error_bars, learning_curves
from experiments.figures.space import frame_axes, predicted_trajectories

__all__ = ["error_bars", "frame_axes", "learning_curves", "predicted_trajectories"]
