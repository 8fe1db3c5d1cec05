"""Pictures in the plane: learning curves and bars of errors."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from experiments.figures.style import INK, NEGATIVE, POSITIVE, TRAIN, VALID, Path, checked, styled


@styled
def learning_curves(
    path: Path,
    train_steps: Float[np.ndarray, " steps"],
    train_loss: Float[np.ndarray, "seeds steps"],
    valid_steps: Float[np.ndarray, " evaluations"],
    valid_error: Float[np.ndarray, "seeds evaluations"],
    *,
    loss_name: str = "training loss",
    error_name: str = "validation mean squared error",
) -> None:
    """Draws training loss and validation error over steps, a thin line a seed and their median.

    Values that are not finite, as a diverged run has, leave a gap.

    Args:
      path: the image to write; its ending chooses the format.
      train_steps: the steps at which the loss was recorded.
      train_loss: the loss of each seed there.
      valid_steps: the steps at which the validation error was measured.
      valid_error: the error of each seed there.
      loss_name: what the loss is, for the axis.
      error_name: what the error is, for the axis.

    Raises:
      ValueError: the steps do not match the values.
    """
    figure = Figure(figsize=(9.0, 3.6), layout="constrained")
    curves = (
        (loss_name, train_steps, train_loss, TRAIN),
        (error_name, valid_steps, valid_error, VALID),
    )
    for panel, (name, steps, values, colour) in enumerate(curves, start=1):
        steps, values = np.asarray(steps), np.asarray(values, dtype=np.float64)
        if values.ndim != 2 or values.shape[1:] != steps.shape:
            raise ValueError(
                f"{name} must have shape (seeds, steps) with {len(steps)} steps, got {values.shape}"
            )
        shown = np.where(np.isfinite(values) & (values > 0), values, np.nan)
        axes = figure.add_subplot(1, 2, panel)
        axes.set_yscale("log")
        for seed in shown:
            axes.plot(steps, seed, color=colour, alpha=0.35, linewidth=0.8)
        whole = np.all(np.isfinite(shown), axis=0)
        middle = np.median(shown[:, whole], axis=0)
        label = "median" if len(shown) > 1 else None
        marker = "o" if len(steps) <= 40 else None
        axes.plot(steps[whole], middle, color=colour, label=label, marker=marker, markersize=3)
        if panel == 2 and middle.size:
            best = np.argmin(middle)
            axes.plot(steps[whole][best], middle[best], "o", color=POSITIVE, zorder=3)
            axes.set_title(f"lowest {middle[best]:.2e} at step {steps[whole][best]:.0f}")
        elif len(shown) > 1:
            axes.set_title(f"{len(shown)} seeds and their median")
        axes.set_xlabel("optimizer step")
        axes.set_ylabel(name)
        axes.grid(True, which="both")
        axes.xaxis.set_major_locator(MaxNLocator(6))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=12))
    figure.savefig(path)


@styled
def error_bars(
    path: Path,
    names: Sequence[str],
    mean: Float[np.ndarray, " models"],
    deviation: Float[np.ndarray, " models"],
    *,
    published: Mapping[str, float] | None = None,
    error_name: str = "test mean squared error",
) -> None:
    """Draws the test error of models, with published numbers as lines to compare with.

    Args:
      path: the image to write; its ending chooses the format.
      names: the models, first on top.
      mean: their errors, positive, over seeds.
      deviation: the standard deviations over seeds.
      published: errors of others by name.
      error_name: what the error is, for the axis.

    Raises:
      ValueError: the lengths differ, or an error is not finite and positive.
    """
    mean = checked("mean", mean, (len(names),))
    deviation = checked("deviation", deviation, (len(names),))
    published = dict(sorted((published or {}).items(), key=lambda item: item[1]))
    values = np.concatenate([mean, list(published.values())])
    if not len(names) or np.any(values <= 0):
        raise ValueError(
            f"mean and published must be positive errors, at least one, got {values.tolist()}"
        )
    figure = Figure(figsize=(8.5, 0.42 * len(names) + 0.9 + (1.3 if published else 0.1)))
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    height = figure.get_figheight()
    axes.set_position((0.27, 0.6 / height, 0.69, 0.42 * len(names) / height))
    axes.set_xscale("log")
    low, high = values.min() / 1.35, np.max([*(mean + deviation), *values]) * 1.6
    axes.set_xlim(low, high)
    rows = np.arange(len(names))
    axes.barh(rows, mean - low, left=low, height=0.62, color=VALID, alpha=0.85)
    axes.errorbar(mean, rows, xerr=deviation, fmt="none", ecolor=INK, capsize=3, linewidth=1)
    for row, (value, spread) in enumerate(zip(mean, deviation, strict=True)):
        text = f"{value:.3g}" + (f" ± {spread:.2g}" if spread else "")
        box = {"facecolor": "white", "edgecolor": "none", "pad": 1.0}
        end = (value + spread, row)
        axes.annotate(text, end, (6, 0), textcoords="offset points", va="center", bbox=box)
    axes.set_yticks(rows, names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlabel(error_name)
    ticks = [t * 10.0**p for p in range(-8, 4) for t in (1, 2, 3, 5) if low < t * 10.0**p < high]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    positions = spread_apart(np.log(list(published.values())) / np.log(high / low), 0.036)
    for (name, value), position in zip(published.items(), positions, strict=True):
        axes.axvline(value, color=NEGATIVE, linewidth=0.9, linestyle=(0, (4, 2)), zorder=0.5)
        axes.annotate(
            f"{name} {value:.3g}",
            (value, 1.0),
            (position - np.log(low) / np.log(high / low), 1.0 + 0.22 / (0.42 * len(names))),
            xycoords=("data", "axes fraction"),
            textcoords="axes fraction",
            rotation=55,
            fontsize=8,
            color=NEGATIVE,
            ha="left",
            va="bottom",
            rotation_mode="anchor",
            arrowprops={"arrowstyle": "-", "color": NEGATIVE, "linewidth": 0.6, "shrinkB": 0},
        )
    figure.savefig(path)


def spread_apart(positions: Float[np.ndarray, " labels"], gap: float) -> np.ndarray:
    """Increasing positions moved as little as needed to be at least `gap` apart."""
    offsets = np.arange(len(positions)) * gap
    least = np.maximum.accumulate(positions - offsets)
    most = np.minimum.accumulate((positions - offsets)[::-1])[::-1]
    return (least + most) / 2 + offsets
