"""Pictures of images: errors against the angle, and feature maps of a digit that is turned."""

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.figures.style import FAINT, INK, VALID, Path, checked, styled

_SHOWN = 8
"""Group elements whose maps are shown, of larger groups evenly spaced ones."""
_TICKS = (0, 1, 2, 5, 10, 20, 50, 100)


@styled
def angle_profiles(
    path: Path, curves: Sequence[tuple[str, Any, Any]], *, error_name: str = "test error"
) -> None:
    """Draws the error of every model against the angle by which its inputs are turned.

    Args:
      path: the picture file.
      curves: the name of each model, the angles `(angles,)` in degrees and the errors
        `(seeds, angles)` in percent; the mean over seeds is a line, their range a band.
      error_name: what the vertical axis shows.

    Raises:
      ValueError: if there is no curve, or an array has the wrong shape or is not finite.
    """
    if not curves:
        raise ValueError("curves must have at least one model, got none")
    read = []
    for name, angles, errors in curves:
        angles = checked("angles", angles, (None,))
        read.append((name, angles, checked("errors", errors, (None, len(angles)))))
    # The names stand in the order of the lines.
    read.sort(key=lambda curve: -curve[2].mean())
    figure = Figure(figsize=(7.5, 4.2))
    axes = figure.subplots()
    colours = matplotlib.colormaps["tab10"]
    for line, (name, angles, errors) in enumerate(read):
        colour, style = colours(line % colours.N), ("-", "--", ":")[line // colours.N % 3]
        axes.plot(angles, errors.mean(axis=0), label=name, color=colour, linestyle=style)
        low, high = errors.min(axis=0), errors.max(axis=0)
        axes.fill_between(angles, low, high, color=colour, alpha=0.12, linewidth=0)
    axes.set_xlabel("angle of the digits, degrees")
    axes.set_ylabel(f"{error_name}, %")
    axes.set_xlim(0, 360)
    axes.set_xticks(range(0, 361, 45))
    # A logarithmic axis from a few tenths of a percent to guessing, which also shows zero.
    axes.set_yscale("symlog", linthresh=1, linscale=0.3)
    largest = max(errors.max() for _, _, errors in read)
    axes.set_yticks(_TICKS, [str(tick) for tick in _TICKS])
    # After the ticks, which widen the limits.
    axes.set_ylim(0, next((tick for tick in _TICKS[1:] if tick > largest), 100))
    axes.grid(True)
    axes.legend(bbox_to_anchor=(1.02, 1), loc="upper left")
    figure.savefig(path)


@styled
def feature_maps(
    path: Path, images: Any, maps: Any, angles: Sequence[float], elements: Sequence[str]
) -> None:
    """Draws the maps of a lifting layer for an image and for turned copies of it.

    One row a copy: the image, then the map of its strongest feature for every group element.
    Turning the image turns the maps and moves them along the row. A coloured border is around the
    first map of the first image, and around the same map of the turned copies.

    Args:
      path: the picture file.
      images: `(copies, height, width)`, from 0 (white) to 1 (black).
      maps: `(copies, height, width, order, features)`.
      angles: the angle of each copy in degrees.
      elements: the name of each group element; that of a rotation is its angle, as `"45°"`.

    Raises:
      ValueError: if an array has the wrong shape or is not finite.
    """
    images = checked("images", images, (None, None, None))
    maps = checked("maps", maps, (*images.shape, len(elements), None))
    degrees = checked("angles", angles, (len(images),))
    feature = int(maps[0].std(axis=(0, 1, 2)).argmax())
    order = len(elements)
    shown = np.unique(np.linspace(0, order, min(order, _SHOWN), endpoint=False).astype(int))
    limit = float(np.abs(maps[..., feature]).max()) or 1.0
    figure = Figure(figsize=(1.1 * (len(shown) + 1), 1.1 * len(images)))
    grid = figure.subplots(
        len(images), len(shown) + 1, squeeze=False, gridspec_kw={"wspace": 0.08, "hspace": 0.08}
    )
    grid[0, 0].set_title("image")
    for row, (image, of_image, angle) in enumerate(zip(images, maps, degrees, strict=True)):
        name = f"{angle:g}°"
        grid[row, 0].imshow(image, cmap="gray_r", vmin=0, vmax=1)
        grid[row, 0].set_ylabel(name, color=INK)
        for column, element in enumerate(shown, start=1):
            axes = grid[row, column]
            axes.imshow(of_image[..., element, feature], cmap="RdBu_r", vmin=-limit, vmax=limit)
            if row == 0:
                axes.set_title(elements[element])
            _frame(axes, followed=order > 1 and elements[element] == name)
        _frame(grid[row, 0], followed=False)
    if order > 1:
        grid[-1, 1].set_xlabel("framed: the map of 0°, which turns with the image", loc="left")
    figure.savefig(path)


def _frame(axes: Axes, followed: bool) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(True)
        spine.set_color(VALID if followed else FAINT)
        spine.set_linewidth(2.5 if followed else 0.8)
