"""A picture of which frames are exact on which inputs, and of an energy where axes cross."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from experiments.figures.style import FAINT, INK, POSITIVE, VALID, Path, checked, styled

_SHADES = LinearSegmentedColormap.from_list("failures", ["#fbe3da", POSITIVE, "#6e1d0a"])
_CLEAN = "#e3f1ec"


@styled
def exactness_map(
    path: Path,
    failures: Mapping[str, Float[np.ndarray, "laws frames"]],
    totals: Sequence[int],
    laws: Sequence[str],
    frames: Sequence[str],
    times: Float[np.ndarray, " times"],
    energies: Mapping[str, Float[np.ndarray, " times"]],
) -> None:
    """Draws how many inputs break each law under each frame, and energies along a path.

    Args:
      path: the image to write; its ending chooses the format.
      failures: the numbers of inputs that fail, one map for each key, such as a dtype.
      totals: the number of inputs that each law was tried on.
      laws: names of the rows.
      frames: names of the columns.
      times: where on the path the energies are; axes cross at 0.
      energies: the energy under each of one or two frames, by name.

    Raises:
      ValueError: there is nothing to draw, the shapes do not match, or a value is not finite.
    """
    if not failures or not laws or not frames or not 1 <= len(energies) <= 2:
        raise ValueError(
            "failures must be at least one map of at least one law and frame, with one or two "
            f"energies, got {len(failures)} maps of {len(laws)} laws and {len(frames)} frames, with "
            f"{len(energies)} energies"
        )
    sizes = checked("totals", totals, (len(laws),))
    times = checked("times", times, (None,))
    height = 0.29 * len(laws) + 1.3
    figure = Figure(
        figsize=(0.62 * len(frames) * len(failures) + 2.6, height + 2.6), layout="constrained"
    )
    grid = figure.add_gridspec(2, len(failures), height_ratios=[height, 2.6])
    for column, (name, counts) in enumerate(failures.items()):
        counts = checked(name, counts, (len(laws), len(frames)))
        axes = figure.add_subplot(grid[0, column])
        axes.set_title(f"inputs that fail, {name}", loc="left")
        shares = np.ma.masked_equal(counts, 0) / sizes[:, None]
        axes.set_facecolor(_CLEAN)
        axes.imshow(shares, cmap=_SHADES, vmin=0, vmax=1, aspect="auto")
        for (row, frame), count in np.ndenumerate(counts):
            dark = count / sizes[row] > 0.4
            colour = "white" if dark else INK if count else VALID
            axes.text(frame, row, f"{count:.0f}", color=colour, ha="center", va="center", size=8)
        axes.set_xticks(range(len(frames)), frames, rotation=35, ha="left", size=8)
        axes.set_yticks(range(len(laws)), laws if column == 0 else [""] * len(laws), size=8)
        axes.tick_params(top=True, labeltop=True, bottom=False, labelbottom=False, length=0)
        axes.set_xticks(np.arange(1, len(frames)) - 0.5, minor=True)
        axes.set_yticks(np.arange(1, len(laws)) - 0.5, minor=True)
        axes.grid(True, which="minor", color="white", linewidth=1.5)
        axes.tick_params(which="minor", length=0, top=False)
        axes.spines[:].set_visible(False)
    below = grid[1, :].subgridspec(1, len(energies))
    for column, (name, values) in enumerate(energies.items()):
        values = checked(name, values, times.shape)
        axes = figure.add_subplot(below[0, column])
        axes.grid(True)
        axes.axvline(0, color=FAINT, linewidth=0.8)
        # No line: it would make a slope of a jump.
        axes.plot(times, values, ".", color=VALID if column else POSITIVE, markersize=3)
        axes.set_title(f"energy, {name}", loc="left")
        axes.set_xlabel("position on the path; two principal axes are exchanged at 0")
        axes.set_xlim(times[0], times[-1])
    figure.savefig(path)
