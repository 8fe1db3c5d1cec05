"""What the exactness benchmark found, printed and written as tables, and drawn."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from rich.console import Console

from experiments.benchmarks import _exactness_paths as along
from experiments.benchmarks._exactness_laws import LAWS, TOLERANCES
from experiments.benchmarks._exactness_methods import DEGREE
from experiments.benchmarks._exactness_moves import ROUNDINGS
from experiments.benchmarks._exactness_record import (
    Evaluations,
    Found,
    Results,
    Tally,
    plain,
    tally,
)
from experiments.benchmarks._g2 import MOLECULES, Clouds
from experiments.benchmarks.figures.exactness import exactness_map
from experiments.results.table import markdown_table, print_table

_DRAWN = ("PCA", "robust")


def report(
    results: Results, evaluations: Evaluations, clouds: Clouds, console: Console, out: Path | None
) -> None:
    """Prints what was found, and writes it if there is a folder for it.

    Args:
      results: of the same frames for each dtype.
      evaluations: of robust frames.
      clouds: the inputs.
      console: where to print.
      out: where to write `exactness.md`, `.png` and `.json`.
    """
    rows = tally(results, clouds)
    tables = [_table(results, rows, clouds), _evaluation_table(evaluations)]
    text = _caption(results)
    console.print(text, soft_wrap=True, highlight=False)
    for names, cells in tables:
        console.print()
        print_table(console, names, cells)
    if out is None:
        return
    page = "\n\n".join([text, *(markdown_table(*each) for each in tables)])
    (out / "exactness.md").write_text(f"{page}\n", encoding="utf-8")
    (out / "exactness.json").write_text(
        json.dumps(plain(results, evaluations, clouds), indent=1), encoding="utf-8"
    )
    _draw(out / "exactness.png", results, rows)
    for ending in ("md", "json", "png"):
        console.print(f"{out / 'exactness'}.{ending}", soft_wrap=True)


Table = tuple[list[str], list[list[str]]]
"""The names of the columns, and the rows."""


def _table(results: Results, rows: list[Tally], clouds: Clouds) -> Table:
    first, *_ = results.values()
    cells = [
        [f"{row.inputs} ({row.total})", row.law]
        + [" / ".join(map(str, some)) for some in zip(*row.failures.values(), strict=True)]
        for row in rows
    ]
    molecules = np.array(clouds.kinds) == MOLECULES

    def numbers(label: str, law: str, number: Callable[[Found], float]) -> None:
        found = ([number(each) for each in some.values()] for some in results.values())
        columns = zip(*found, strict=True)
        cells.append([label, law, *(" / ".join(f"{x:.0e}" for x in some) for some in columns)])

    def median(law: str, found: Found) -> float:
        return float(np.median(np.nan_to_num(found.laws[law].errors[molecules], nan=np.inf)))

    for law in ("values", "forces"):
        numbers(MOLECULES, f"median error of {law}", partial(median, law))
    numbers("paths", "largest jump", lambda found: np.max(list(found.jumps.values())))
    return ["inputs", "law", *first], cells


def _evaluation_table(evaluations: Evaluations) -> Table:
    rows = [
        [name, *(f"{x:.0f}" for x in (np.median(some), np.percentile(some, 90), np.max(some)))]
        for name, some in evaluations.items()
    ]
    return ["evaluations a molecule", "median", "90th percentile", "worst"], rows


def _caption(results: Results) -> str:
    laws = "; ".join(f"{law}: {what}" for law, what in LAWS.items())
    limits = ", ".join(
        f"{dtype} {some.symmetry:.0e} (torque {some.torque:.0e})"
        for dtype, some in TOLERANCES.items()
        if dtype in results
    )
    return (
        f"Inputs that fail, {' / '.join(results)}: molecules of G2, hard clouds, and paths across "
        f"symmetric clouds. {laws}; jumps: of the energy along a path, beyond {along.ALLOWED:.0e} of "
        f"its range. A failure is a relative error beyond {limits}, plus {ROUNDINGS} roundings of the "
        "coordinates (over the step, for differences): in float32, these leave nothing of a cloud at "
        "1e6. Errors are relative to the output, or to the energy where that is larger: symmetry may "
        "make an output vanish. The backbone keeps permutations, and clouds at extreme scales are in "
        f"units of their own. Quadrature is of degree {DEGREE}, about the centroid; PCA, textbook: by "
        "jnp.linalg.eigh and its derivative. Rank 2 is averaged over robust frames with the octahedral "
        "closure."
    )


def _draw(path: Path, results: Results, rows: list[Tally]) -> None:
    *_, last = results.values()
    energies = {name: found.energies for name, found in last.items() if name in _DRAWN}
    exactness_map(
        path,
        {dtype: np.array([row.failures[dtype] for row in rows]) for dtype in results},
        [row.total for row in rows],
        [f"{row.inputs} ({row.total}), {row.law}" for row in rows],
        list(last),
        along.places(),
        energies,
    )
