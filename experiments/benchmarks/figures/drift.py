"""A picture of how well molecular dynamics conserves energy, against time and the time step."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.figures.style import INK, NEUTRAL, Path, checked, styled

_COLOURS = ("#c8401f", "#d08700", "#7b3fa0", "#0b6e4f")


@styled
def energy_drift(
    path: Path,
    energies: Mapping[
        str, Mapping[str, tuple[Float[np.ndarray, " steps"], Float[np.ndarray, " steps"]]]
    ],
    crossings: Mapping[str, Mapping[str, Float[np.ndarray, " crossings"]]],
    steps: Sequence[float],
    deviations: Mapping[str, Mapping[str, Sequence[float]]],
) -> None:
    """Draws a row for each molecule: energy against time, and its deviation against the time step.

    Args:
      path: the image to write; its ending chooses the format.
      energies: for each molecule and at most four frames the times in femtoseconds, and the total
        energies above that of the start in meV an atom.
      crossings: for each of them the times when principal axes cross, drawn as ticks.
      steps: the time steps in femtoseconds.
      deviations: for each of them the root mean square of the energy at each time step.

    Raises:
      ValueError: there is nothing to draw, the shapes do not match, or a value is not finite.
    """
    numbers = [len(frames) for frames in energies.values()]
    if not numbers or not all(1 <= number <= len(_COLOURS) for number in numbers):
        raise ValueError(
            f"energies must be of at least one molecule, each with 1 to {len(_COLOURS)} frames, got "
            f"{len(numbers)} molecules with {numbers} frames"
        )
    times = checked("steps", steps, (None,))
    figure = Figure(figsize=(10, 2.3 * len(energies) + 0.9), layout="constrained")
    panels = figure.subplots(len(energies), 2, width_ratios=(2.6, 1), squeeze=False, sharex="col")
    for (left, right), (molecule, frames) in zip(panels, energies.items(), strict=True):
        for row, (colour, (frame, curve)) in enumerate(zip(_COLOURS, frames.items(), strict=False)):
            time = checked(f"times of {frame}", curve[0], (None,))
            energy = checked(f"energies of {frame}", curve[1], (len(time),))
            ticks = checked(f"crossings of {frame}", crossings[molecule][frame], (None,))
            deviation = checked(f"deviations of {frame}", deviations[molecule][frame], times.shape)
            left.plot(time, energy, color=colour, linewidth=1.2, label=frame, zorder=2 + row)
            # Below the curves, a line for each frame: they do not cross at the same times.
            height = -0.05 - 0.055 * row
            left.plot(
                ticks,
                np.full(len(ticks), height),
                "|",
                color=colour,
                markersize=5,
                transform=left.get_xaxis_transform(),
                clip_on=False,
            )
            right.plot(times, deviation, "o-", color=colour, markersize=4, zorder=2 + row)
        left.set_title(molecule, loc="left")
        left.set_ylabel("total energy\nmeV an atom")
        left.tick_params(axis="x", pad=20)
        left.grid(True, axis="y")
        left.margins(x=0)
        _draw_order(right, times, list(deviations[molecule].values()))
    panels[-1, 0].set_xlabel("time in fs; ticks: crossings of principal axes")
    panels[-1, 1].set_xlabel("time step in fs")
    handles, names = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=len(names), labelcolor=INK)
    figure.savefig(path)


def _draw_order(axes: Axes, times: np.ndarray, deviations: Sequence[Sequence[float]]) -> None:
    """Logarithmic axes, and a line of the second order below the lowest curve."""
    axes.set_xscale("log")
    axes.set_yscale("log")
    guide = 0.5 * min(values[-1] for values in deviations) * (times / times[-1]) ** 2
    axes.plot(times, guide, "--", color=NEUTRAL, linewidth=1)
    corner = (times[0], guide[-1])
    axes.annotate("second order", corner, ha="right", va="bottom", color=NEUTRAL, fontsize=8)
    axes.set_ylim(bottom=guide[-1] / 2)
    axes.set_xlim(0.85 * times[-1], times[0] / 0.85)
    axes.set_xticks(times, [f"{step:g}" for step in times])
    axes.set_xticks([], minor=True)
    axes.set_ylabel("rms, meV an atom")
    axes.grid(True, axis="y")
