"""The report of trajectories at constant energy: table, numbers, picture and page."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.benchmarks.report import Table, write_report
from experiments.benchmarks.trajectories.conservation import Trajectory
from experiments.figures.curves import Curve, Panel, draw_curves
from experiments.figures.curves_html import interactive_curves

_COLUMNS = {
    "drift, meV/atom/ps": "drift_mev_per_atom_ps",
    "rms, meV/atom": "rms_mev_per_atom",
    "rms falls by": "rms_falls_by",
    "largest jump, meV/atom": "jump_mev_per_atom",
    "jump falls by": "jump_falls_by",
    "near crossings": "crossings",
    "smallest gap": "smallest_gap",
    "dropped weight": "dropped_weight",
    "largest spin, hbar": "spin_hbar",
    "last temperature, K": "last_temperature_kelvin",
    "ns/day": "nanoseconds_a_day",
}


def table_of(results: Sequence[Mapping[str, Any]]) -> Table:
    """The table, with a dash for numbers that too few records do not give."""
    rows = []
    for result in results:
        apart = result["apart_at_picoseconds"]
        row = [result["model"], f"{result['temperature_kelvin']:g}"]
        row.append(f"{result['picoseconds']:g}" if apart is None else f"apart at {apart:.3g}")
        for key in _COLUMNS.values():
            row.append("-" if result[key] is None else f"{result[key]:.3g}")
        rows.append(row)
    return Table(["model", "K", "ps", *_COLUMNS], rows)


def write_trajectories(
    out: Path,
    caption: str,
    settings: Mapping[str, Any],
    results: Sequence[Mapping[str, Any]],
    trajectories: Mapping[float, Mapping[str, Trajectory]],
) -> list[Path]:
    """Writes `trajectories.md`, `.json`, `.png` and `.html`.

    Args:
      out: a folder.
      caption: what the numbers are.
      settings: what they were measured with; `molecule` is its formula.
      results: the numbers of each trajectory.
      trajectories: by temperature in kelvin and model.

    Returns:
      The files.
    """
    document = dict(settings) | {"trajectories": results}
    paths = write_report(out, "trajectories", caption, [table_of(results)], document)
    pictures, page = [], []
    for temperature, runs in trajectories.items():
        panels = [
            Panel(
                f"{title} at {temperature:g} K",
                "time in ps",
                name,
                [Curve(model, run.times, values(run)) for model, run in runs.items()],
            )
            for title, name, values in (
                ("total energy", "meV an atom", lambda run: run.energies),
                ("angular momentum", "hbar", lambda run: run.records.spin),
                ("gap of principal moments", "of the largest", lambda run: run.records.gap),
            )
        ]
        pictures += panels[:2]
        page += panels
    picture, html = out / "trajectories.png", out / "trajectories.html"
    draw_curves(picture, pictures)
    interactive_curves(html, f"{settings['molecule']} at constant energy", page, 3)
    return [*paths, picture, html]
