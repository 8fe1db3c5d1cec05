"""The report of the exactness benchmark: tables, printed and written, and a picture."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
from rich.console import Console

from experiments.benchmarks.exactness.clouds import MOLECULES, Clouds
from experiments.benchmarks.exactness.laws import LAWS, TOLERANCES
from experiments.benchmarks.exactness.methods import DEGREE
from experiments.benchmarks.exactness.moves import ROUNDINGS
from experiments.benchmarks.exactness.paths import LARGEST_CHANGE, shown_times
from experiments.benchmarks.exactness.results import (
    Evaluations,
    FrameResult,
    Results,
    Tally,
    plain,
    tally,
)
from experiments.benchmarks.exactness.ties import Ties
from experiments.benchmarks.figures.exactness import exactness_map
from experiments.benchmarks.report import (
    Table,
    print_caption,
    print_paths,
    print_tables,
    write_report,
)

_DRAWN = ("PCA", "robust")


def report(
    results: Results,
    evaluations: Evaluations,
    ties: Mapping[str, Ties],
    clouds: Clouds,
    console: Console,
    out: Path | None,
) -> None:
    """Prints the tables, and writes them if there is a folder for it.

    Args:
      results: of the same frames for each dtype.
      evaluations: of robust frames.
      ties: what tied clouds need, by name.
      clouds: the inputs.
      console: where to print.
      out: where to write `exactness.md`, `.png` and `.json`.
    """
    rows = tally(results, clouds)
    tables = [_table(results, rows, clouds), _evaluation_table(evaluations), _tie_table(ties)]
    caption = _caption(results)
    print_caption(console, caption)
    console.print()
    print_tables(console, *tables)
    if out is None:
        return
    numbers = plain(results, evaluations, ties, clouds)
    paths = write_report(out, "exactness", caption, tables, numbers)
    paths.append(out / "exactness.png")
    _draw(paths[-1], results, rows)
    print_paths(console, paths)


def _table(results: Results, rows: list[Tally], clouds: Clouds) -> Table:
    first, *_ = results.values()
    cells = [
        [f"{row.inputs} ({row.total})", row.law]
        + [" / ".join(map(str, counts)) for counts in zip(*row.failures.values(), strict=True)]
        for row in rows
    ]
    molecules = np.array(clouds.kinds) == MOLECULES

    def numbers(label: str, law: str, number: Callable[[FrameResult], float]) -> None:
        rows = ([number(result) for result in frames.values()] for frames in results.values())
        columns = zip(*rows, strict=True)
        cells.append([label, law, *(" / ".join(f"{x:.0e}" for x in column) for column in columns)])

    def median(law: str, result: FrameResult) -> float:
        return float(np.median(np.nan_to_num(result.laws[law].errors[molecules], nan=np.inf)))

    for law in ("values", "forces"):
        numbers(MOLECULES, f"median error of {law}", partial(median, law))
    numbers("paths", "largest jump", lambda result: np.max(list(result.jumps.values())))
    return Table(["inputs", "law", *first], cells)


def _evaluation_table(evaluations: Evaluations) -> Table:
    rows = [
        [name, *(f"{number:.0f}" for number in np.percentile(counts, (50, 90, 100)))]
        for name, counts in evaluations.items()
    ]
    return Table(["evaluations a molecule", "median", "90th percentile", "worst"], rows)


def _tie_table(ties: Mapping[str, Ties]) -> Table:
    rows = [
        [name, str(tie.points), str(tie.order), str(tie.elements), "yes" if tie.fits else "no"]
        for name, tie in ties.items()
    ]
    return Table(["tied cloud", "points", "symmetries", "elements, E(3)", "fit by default"], rows)


def _caption(results: Results) -> str:
    laws = "; ".join(f"{law}: {error}" for law, error in LAWS.items())
    limits = ", ".join(
        f"{dtype} {tolerance.symmetry:.0e} (torque {tolerance.torque:.0e})"
        for dtype, tolerance in TOLERANCES.items()
        if dtype in results
    )
    return (
        f"Inputs that fail, {' / '.join(results)}: molecules of G2, hard clouds, and paths across "
        f"symmetric clouds. {laws}; jumps: of the energy along a path, beyond {LARGEST_CHANGE:.0e} of "
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
    energies = {name: result.energies for name, result in last.items() if name in _DRAWN}
    exactness_map(
        path,
        {dtype: np.array([row.failures[dtype] for row in rows]) for dtype in results},
        [row.total for row in rows],
        [f"{row.inputs} ({row.total}), {row.law}" for row in rows],
        list(last),
        shown_times(),
        energies,
    )
