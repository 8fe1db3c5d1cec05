"""A picture of how far the identities of correlation hold, against the angle."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from experiments.figures.style import INK, NEUTRAL, Path, checked, styled

_COLOURS = ("#b5b5b5", "#d08700", "#7b3fa0", "#0b6e4f")
_LOWEST = 1e-8
"""Below the rounding of float32: where errors of zero are drawn."""
_ROUNDING = 1e-6


@styled
def identity_errors(
    path: Path,
    errors: Mapping[
        str, tuple[Float[np.ndarray, " angles"], Float[np.ndarray, "kernels widths a"]]
    ],
    kernels: Sequence[str],
    widths: Sequence[float],
) -> None:
    """Draws the error of each identity against the angle, a column for each band-width.

    Args:
      path: the image to write; its ending chooses the format.
      errors: for each identity the angles in degrees and the relative errors, of shape
        `(kernels, widths, angles)`.
      kernels: the names of at most four kernels, drawn as one curve each.
      widths: the band-widths of the images.

    Raises:
      ValueError: the shapes do not match, or a value is not finite.
    """
    if not errors or not 1 <= len(kernels) <= len(_COLOURS) or not len(widths):
        raise ValueError(
            f"errors must be of at least one identity, width and kernel, and of at most "
            f"{len(_COLOURS)} kernels, got {len(errors)} identities, {len(widths)} widths and "
            f"{len(kernels)} kernels"
        )
    figure = Figure(
        figsize=(3.1 * len(widths) + 0.6, 2.3 * len(errors) + 0.7), layout="constrained"
    )
    panels = figure.subplots(len(errors), len(widths), sharex=True, sharey=True, squeeze=False)
    for row, (identity, (angles, values)) in enumerate(errors.items()):
        angles = checked("angles", angles, (None,))
        values = checked(identity, values, (len(kernels), len(widths), len(angles)))
        grid = angles % 90 == 0
        for column, width in enumerate(widths):
            axes = panels[row, column]
            axes.set_yscale("log")
            axes.axhspan(_LOWEST / 2, _ROUNDING, color="#f2f2f2", zorder=0)
            axes.grid(True, axis="y")
            for name, colour, curve in zip(kernels, _COLOURS, values[:, column], strict=False):
                shown = np.maximum(curve, _LOWEST)
                # No line to the angles of the grid: the error is not continuous there.
                axes.plot(
                    angles[~grid], shown[~grid], "o-", color=colour, markersize=2.8, label=name
                )
                axes.plot(angles[grid], shown[grid], "D", color=colour, markersize=5, alpha=0.8)
            if row == 0:
                axes.set_title(f"images of band-width {width:g} Nyquist")
            if row == len(errors) - 1:
                axes.set_xlabel("angle in degrees")
        panels[row, 0].set_ylabel(f"{identity}\nrelative error")
        style = {"ha": "center", "color": NEUTRAL, "fontsize": 8}
        panels[row, 0].annotate("rounding of float32; zero at the bottom", (45, 1e-7), **style)
    first = panels[0, 0]
    first.set_ylim(_LOWEST / 2, 3)
    first.set_yticks([1e-8, 1e-6, 1e-4, 1e-2, 1])
    first.set_xlim(-3, 93)
    first.set_xticks([0, 15, 30, 45, 60, 75, 90])
    handles, names = first.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=len(names), labelcolor=INK)
    figure.savefig(path)
