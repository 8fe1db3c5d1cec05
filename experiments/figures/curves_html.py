"""An interactive page of curves or points, which needs neither a server nor a network."""

import html
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from experiments.errors import UsageError
from experiments.figures.curves import COLOURS, Panel, check_panels
from experiments.figures.style import INK, NEUTRAL, Path
from experiments.files import write_whole

_HINT = (
    "Drag over a part to enlarge it, double-click to see all again. Click a name to hide or show it, "
    "double-click it to see it alone: the axes adapt."
)
_HEIGHT = 300
_HEAD = 110
"""Pixels of a row of panels, and of what is above the first."""


def interactive_curves(path: Path, title: str, panels: Sequence[Panel], columns: int = 2) -> None:
    """Writes a page with panels, row by row; panels with the same abscissa are zoomed together.

    Args:
      path: the HTML file to write; it needs no other file.
      title: of the page.
      panels: the panels to draw.
      columns: panels in a row.

    Raises:
      ValueError: there is nothing to draw, the shapes do not match, or a value is not finite.
      UsageError: plotly, which the page is made with, is not installed.
    """
    names = check_panels(panels)
    try:
        from plotly.subplots import make_subplots
    except ImportError:
        raise UsageError(
            "the package plotly, which makes the page, must be installed: pip install plotly"
        ) from None
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    height = max(_HEIGHT * rows + _HEAD, 650)
    figure = make_subplots(
        rows,
        columns,
        subplot_titles=[html.escape(panel.title) for panel in panels],
        horizontal_spacing=0.2 / columns,
        vertical_spacing=70 / height if rows > 1 else 0,
    )
    listed: set[str] = set()
    first: dict[str, str] = {}
    for index, panel in enumerate(panels):
        row, column = index // columns + 1, index % columns + 1
        if panel.parity:
            figure.add_trace(_diagonal(panel), row, column)
        for trace in _traces(panel, names):
            # One line in the list stands for the curves of all panels.
            trace["showlegend"] = trace["name"] not in listed
            listed.add(trace["name"])
            figure.add_trace(trace, row, column)
        axis = f"x{index + 1}" if index else "x"
        options = {"matches": first[panel.x]} if panel.x in first else {}
        first.setdefault(panel.x, axis)
        figure.update_xaxes(title_text=panel.x, row=row, col=column, **options)
        same = {"scaleanchor": axis, "scaleratio": 1} if panel.parity else {}
        figure.update_yaxes(title_text=panel.y, row=row, col=column, **same)
    figure.update_layout(
        template="plotly_white",
        font={"color": INK},
        height=height,
        margin={"t": _HEAD, "r": 20},
        hovermode="closest",
        title={"text": html.escape(title), "subtitle": {"text": _HINT}, "x": 0.01},
        legend={"groupclick": "togglegroup", "itemsizing": "constant"},
    )
    page = figure.to_html(
        include_plotlyjs=True,
        config={"displaylogo": False, "responsive": True},
        div_id="curves",
    )
    page = page.replace("<head>", f"<head><title>{html.escape(title)}</title>", 1)
    write_whole(pathlib.Path(path), page)


def _traces(panel: Panel, names: Sequence[str]) -> list[dict[str, Any]]:
    traces = []
    for name, x, y, words in panel.curves:
        colour = COLOURS[names.index(name) % len(COLOURS)]
        trace: dict[str, Any] = {"type": "scattergl" if panel.parity else "scatter"}
        trace |= {"name": html.escape(name), "legendgroup": name}
        trace |= {"x": np.asarray(x, np.float32), "y": np.asarray(y, np.float32)}
        if panel.parity:
            trace |= {"mode": "markers", "marker": {"color": colour, "size": 4, "opacity": 0.5}}
        else:
            trace |= {"mode": "lines", "line": {"color": colour, "width": 1.2}}
        if words:
            trace |= {"text": [html.escape(word) for word in words]}
            trace["hovertemplate"] = "%{text}<br>%{x:.4g}, %{y:.4g}"
        traces.append(trace)
    return traces


def _diagonal(panel: Panel) -> dict[str, Any]:
    values = np.concatenate([axis for curve in panel.curves for axis in (curve.x, curve.y)])
    ends = [float(values.min()), float(values.max())]
    style = {"mode": "lines", "line": {"color": NEUTRAL, "width": 1}, "hoverinfo": "skip"}
    return {"type": "scatter", "x": ends, "y": ends, "showlegend": False} | style
