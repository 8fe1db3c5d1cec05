"""Pictures of the predictions of a model against the values of the data."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.figures.style import FAINT, INK, VALID, Path, checked, styled

_MANY = 500
"""Points of which more are drawn small."""
_ROUNDING = 1e-6


class Compared(NamedTuple):
    """Predictions of a quantity, and what the data say.

    Attributes:
      name: of the quantity.
      unit: of the values.
      reference: the values of the data.
      predicted: the values of the model, in the same order.
      error_unit: of the error.
      per_unit: units of the error in one of the values.
    """

    name: str
    unit: str
    reference: Float[np.ndarray, " values"]
    predicted: Float[np.ndarray, " values"]
    error_unit: str
    per_unit: float


@styled
def parity(path: Path, quantities: Sequence[Compared]) -> None:
    """Draws predictions of quantities against their references, side by side.

    Above each is the root of its mean squared error.

    Args:
      path: the image to write; its ending chooses the format.
      quantities: what to draw.

    Raises:
      ValueError: there is nothing to draw, the shapes do not match, or a value is not finite.
    """
    if not quantities:
        raise ValueError("quantities must be one or more, got none")
    figure = Figure(figsize=(3.9 * len(quantities), 4), layout="constrained")
    panels = figure.subplots(1, len(quantities), squeeze=False)[0]
    for axes, (name, unit, reference, predicted, error_unit, per_unit) in zip(
        panels, quantities, strict=True
    ):
        reference, predicted = _both(reference, predicted, f" of {name}")
        _draw_points(axes, reference, predicted)
        error = per_unit * np.sqrt(np.mean((predicted - reference) ** 2))
        axes.set(xlabel=f"reference ({unit})", ylabel=f"predicted ({unit})")
        axes.set_title(f"{name}, RMSE {error:.3g} {error_unit}", loc="left")
    figure.savefig(path)


@styled
def predicted_against_reference(
    path: Path,
    reference: Float[np.ndarray, " values"],
    predicted: Float[np.ndarray, " values"],
    *,
    name: str,
    unit: str,
) -> None:
    """Draws predictions against reference values, and beside them their differences.

    Args:
      path: the image to write; its ending chooses the format.
      reference: the values of the data.
      predicted: the values of the model, in the same order.
      name: of the quantity.
      unit: their unit.

    Raises:
      ValueError: there is nothing to draw, the shapes do not match, or a value is not finite.
    """
    reference, predicted = _both(reference, predicted)
    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    _draw_points(left, reference, predicted)
    left.set(xlabel=f"reference {name} ({unit})", ylabel=f"predicted {name} ({unit})")
    difference = 1000 * (predicted - reference)
    # Differences that are equal but for rounding leave no room for so many bins.
    margin = _ROUNDING * np.max(np.abs(difference))
    ends = (difference.min() - margin, difference.max() + margin)
    right.hist(difference, bins=80, range=ends, color=VALID)
    right.axvline(0, color=INK, linewidth=0.8)
    error = np.mean(np.abs(difference))
    right.set(
        xlabel=f"predicted - reference (m{unit})",
        ylabel="number",
        title=f"mean absolute error {error:.3g} m{unit}",
    )
    right.grid(True)
    right.set_axisbelow(True)
    figure.savefig(path)


def _both(
    reference: np.ndarray, predicted: np.ndarray, of_what: str = ""
) -> tuple[np.ndarray, np.ndarray]:
    reference = checked(f"reference{of_what}", reference, (None,))
    if not len(reference):
        raise ValueError(f"reference{of_what} must have at least one value, got none")
    return reference, checked(f"predicted{of_what}", predicted, reference.shape)


def _draw_points(axes: Axes, reference: np.ndarray, predicted: np.ndarray) -> None:
    """Points about the diagonal, with scales of one length."""
    low, high = min(reference.min(), predicted.min()), max(reference.max(), predicted.max())
    axes.plot([low, high], [low, high], color=FAINT, linewidth=1, zorder=1)
    # Thousands of points: drawn as pixels, or a vector file would be larger than the data.
    style: Any = {"color": VALID, "alpha": 0.4, "rasterized": True}
    axes.plot(reference, predicted, ".", markersize=2 if len(reference) > _MANY else 5, **style)
    axes.set_aspect("equal", adjustable="datalim")
    axes.grid(True)
    axes.set_axisbelow(True)
