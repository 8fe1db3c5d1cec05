"""The table, the numbers, the picture and the page of trajectories at constant energy."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.benchmarks._conservation import Trajectory
from experiments.figures.curves import Curve, Panel, draw_curves
from experiments.figures.curves_html import interactive_curves
from experiments.files import write_whole
from experiments.results.table import markdown_table

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


def table_of(found: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """The names of the columns and the rows of a table, a dash for what cannot be said."""
    names = ["model", "K", "ps", *_COLUMNS]
    rows = []
    for each in found:
        apart = each["apart_at_picoseconds"]
        row = [each["model"], f"{each['temperature_kelvin']:g}"]
        row.append(f"{each['picoseconds']:g}" if apart is None else f"apart at {apart:.3g}")
        for key in _COLUMNS.values():
            row.append("-" if each[key] is None else f"{each[key]:.3g}")
        rows.append(row)
    return names, rows


def write_trajectories(
    out: Path,
    caption: str,
    settings: Mapping[str, Any],
    found: Sequence[Mapping[str, Any]],
    trajectories: Mapping[float, Mapping[str, Trajectory]],
) -> None:
    """Writes `trajectories.md`, `.json`, `.png` and `.html`.

    Args:
      out: a folder.
      caption: what the numbers are.
      settings: what they were measured with; `molecule` is its formula.
      found: the numbers of each trajectory.
      trajectories: by temperature in kelvin and model.
    """
    write_whole(out / "trajectories.md", f"{caption}\n\n{markdown_table(*table_of(found))}\n")
    document = json.dumps(dict(settings) | {"trajectories": found}, indent=2, allow_nan=False)
    write_whole(out / "trajectories.json", document + "\n")
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
    draw_curves(out / "trajectories.png", pictures)
    interactive_curves(
        out / "trajectories.html", f"{settings['molecule']} at constant energy", page, 3
    )
