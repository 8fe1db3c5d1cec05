"""Pictures in space: moving bodies, and the frames of a cloud."""

from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from experiments.figures.style import (
    AXES,
    FAINT,
    INK,
    NEGATIVE,
    NEUTRAL,
    POSITIVE,
    Path,
    checked,
    styled,
)


@styled
def predicted_trajectories(
    path: Path,
    position: Float[np.ndarray, "systems bodies 3"],
    velocity: Float[np.ndarray, "systems bodies 3"],
    charge: Float[np.ndarray, "systems bodies"],
    target: Float[np.ndarray, "systems bodies 3"],
    prediction: Float[np.ndarray, "systems bodies 3"],
    *,
    duration: float = 1.0,
) -> None:
    """Draws systems of bodies in space: where they start, where they go, where a model sends them.

    Args:
      path: the image to write; its ending chooses the format.
      position: the input, a panel a system, at most eight.
      velocity: drawn as the way a body would go in `duration` without any force.
      charge: chooses the colour by its sign.
      target: the true positions `duration` later.
      prediction: the model's.
      duration: the time between input and target.

    Raises:
      ValueError: an array has another shape than those named here, or values that are not finite.
    """
    named = {"velocity": velocity, "charge": charge, "target": target, "prediction": prediction}
    position = checked("position", position, (None, None, 3))
    systems, bodies, _ = position.shape
    velocity, charge, target, prediction = (
        checked(name, array, (systems, bodies, 3) if name != "charge" else (systems, bodies))
        for name, array in named.items()
    )
    if not 1 <= systems <= 8:
        raise ValueError(f"position must have 1 to 8 systems, a panel each, got {systems}")
    rows = -(-systems // 4)
    columns = -(-systems // rows)
    figure = Figure(figsize=(3.6 * columns, 3.6 * rows))
    figure.subplots_adjust(0, 0, 1, 1, wspace=0.04, hspace=0.12)
    for system in range(systems):
        axes = figure.add_subplot(rows, columns, system + 1, projection="3d")
        straight = position[system] + duration * velocity[system]
        drawn = np.concatenate([position[system], straight, target[system], prediction[system]])
        low, high = drawn.min(axis=0), drawn.max(axis=0)
        _open_space(axes, (low + high) / 2, 0.53 * np.max(high - low))
        for start, speed, true, guess, sign in zip(
            position[system],
            velocity[system],
            target[system],
            prediction[system],
            charge[system],
            strict=True,
        ):
            colour = _colour(sign)
            axes.plot(*np.stack([start, true]).T, color=colour, linewidth=1.2)
            axes.plot(*np.stack([true, guess]).T, color=INK, linewidth=1.2)
            axes.quiver(
                *start, *(duration * speed), color=colour, alpha=0.45, arrow_length_ratio=0.2
            )
            axes.scatter(*start, color=colour, s=10, alpha=0.6, depthshade=False)
            axes.scatter(*true, color=colour, s=42, depthshade=False)
            axes.scatter(*guess, facecolor="none", edgecolor=INK, s=95, depthshade=False)
        error = np.mean((target[system] - prediction[system]) ** 2)
        axes.set_title(f"mean squared error {error:.1e}", pad=-4)
    handles = [
        _key("o", POSITIVE, 7, "charge +"),
        _key("o", NEGATIVE, 7, "charge −"),
        _key("o", FAINT, 4, "input position"),
        Line2D([], [], color=FAINT, marker=">", markevery=[1], label=f"velocity × {duration:g}"),
        _key("o", FAINT, 7, "true target"),
        Line2D(
            [], [], marker="o", color="none", markeredgecolor=INK, markersize=10, label="predicted"
        ),
    ]
    columns = 6 if columns > 1 else 2
    figure.legend(handles=handles, loc="upper center", ncols=columns, bbox_to_anchor=(0.5, 0.0))
    figure.savefig(path)


@styled
def frame_axes(
    path: Path,
    points: Float[np.ndarray, "points 3"],
    linear: Float[np.ndarray, "frame 3 3"],
    shift: Float[np.ndarray, "frame 3"],
    *,
    charge: Float[np.ndarray, " points"] | None = None,
) -> None:
    """Draws the elements of a frame of one cloud as coordinate systems, and what each makes of it.

    Each element is a panel with the cloud as it is and the columns of `linear` as axes at `shift`,
    and below it the canonical cloud `(points - shift) linear`, the same for every rotation and
    reflection of the input up to the order of the panels.

    Args:
      path: the image to write; its ending chooses the format.
      points: the input cloud.
      linear: the orthogonal matrices of the elements, at most sixteen.
      shift: the origins of their coordinate systems.
      charge: chooses the colour of a point by its sign.

    Raises:
      ValueError: an array has another shape than those named here, or values that are not finite.
    """
    points = checked("points", points, (None, 3))
    linear = checked("linear", linear, (None, 3, 3))
    count = len(linear)
    shift = checked("shift", shift, (count, 3))
    charge = checked("charge", np.zeros(len(points)) if charge is None else charge, (len(points),))
    if not 1 <= count <= 16:
        raise ValueError(f"linear must have 1 to 16 elements, a panel each, got {count}")
    rows = -(-count // 4)
    columns = -(-count // rows)
    colours = [_colour(sign) for sign in charge]
    radius = np.max(np.linalg.norm(points - shift[:, None], axis=-1)) or 1.0
    figure = Figure(figsize=(2.9 * columns, 5.8 * rows))
    figure.subplots_adjust(0, 0, 1, 1, wspace=0.02, hspace=0.12)
    for element in range(count):
        row, column = divmod(element, columns)
        origin, matrix = shift[element], linear[element]
        hand = "rotation" if np.linalg.det(matrix) > 0 else "reflection"
        panels = (
            (f"element {element + 1} ({hand})", points, origin, matrix.T),
            ("canonical cloud", (points - origin) @ matrix, np.zeros(3), np.eye(3)),
        )
        for below, (title, cloud, centre, directions) in enumerate(panels):
            panel = (2 * row + below) * columns + column + 1
            axes = figure.add_subplot(2 * rows, columns, panel, projection="3d")
            _open_space(axes, centre, 1.02 * radius, names="   " if below else "xyz")
            axes.scatter(*cloud.T, color=colours, s=36, depthshade=False)
            for point in cloud:
                axes.plot(*np.stack([centre, point]).T, color=FAINT, linewidth=0.7)
            for name, direction in enumerate(0.64 * radius * directions):
                axes.quiver(*centre, *direction, color=AXES[name], arrow_length_ratio=0.14)
                label = f"$e_{name + 1}$"
                axes.text(
                    *(centre + 1.24 * direction), label, color=AXES[name], ha="center", va="center"
                )
            axes.set_title(title, pad=-4)
    handles = [Line2D([], [], color=AXES[name], label=f"axis $e_{name + 1}$") for name in range(3)]
    if np.any(charge):
        handles += [_key("o", POSITIVE, 6, "charge +"), _key("o", NEGATIVE, 6, "charge −")]
    figure.legend(
        handles=handles, loc="upper center", ncols=max(columns + 1, 3), bbox_to_anchor=(0.5, 0.0)
    )
    figure.savefig(path)


def _key(marker: str, colour: str, size: float, label: str) -> Line2D:
    return Line2D(
        [], [], marker=marker, color=colour, linestyle="none", markersize=size, label=label
    )


def _colour(charge: float) -> str:
    return NEUTRAL if charge == 0 else POSITIVE if charge > 0 else NEGATIVE


def _open_space(axes: Any, centre: np.ndarray, half: float, names: str = "xyz") -> None:
    """Shows a cube with few ticks, so that lengths compare along all axes."""
    half = max(float(half), 1e-6)
    for coordinate, name, middle in zip("xyz", names, centre, strict=True):
        getattr(axes, f"set_{coordinate}lim")(middle - half, middle + half)
        getattr(axes, f"set_{coordinate}label")(name.strip() and f"${name}$", labelpad=-8)
        axis = getattr(axes, f"{coordinate}axis")
        axis.set_major_locator(MaxNLocator(4))
        axis.set_pane_color((0.97, 0.97, 0.97, 1.0))
    axes.tick_params(labelsize=7, pad=-3)
    axes.set_box_aspect((1, 1, 1), zoom=0.98)
    axes.view_init(elev=20, azim=-58)
