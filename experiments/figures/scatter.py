"""A picture of the predictions of a model against the values of the data."""

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from experiments.figures.style import FAINT, INK, VALID, Path, checked, styled


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
    reference = checked("reference", reference, (None,))
    predicted = checked("predicted", predicted, reference.shape)
    if not len(reference):
        raise ValueError("reference must have at least one value, got none")
    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    low, high = min(reference.min(), predicted.min()), max(reference.max(), predicted.max())
    left.plot([low, high], [low, high], color=FAINT, linewidth=1, zorder=1)
    # Thousands of points: drawn as pixels, or a vector file would be larger than the data.
    left.plot(reference, predicted, ".", color=VALID, markersize=2, alpha=0.4, rasterized=True)
    left.set_aspect("equal", adjustable="datalim")
    left.set(xlabel=f"reference {name} ({unit})", ylabel=f"predicted {name} ({unit})")
    difference = 1000 * (predicted - reference)
    right.hist(difference, bins=80, color=VALID)
    right.axvline(0, color=INK, linewidth=0.8)
    error = np.mean(np.abs(difference))
    right.set(
        xlabel=f"predicted - reference (m{unit})",
        ylabel="number",
        title=f"mean absolute error {error:.3g} m{unit}",
    )
    for axes in (left, right):
        axes.grid(True)
        axes.set_axisbelow(True)
    figure.savefig(path)
