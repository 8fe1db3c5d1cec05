"""Crystals: space groups that relaxations keep, phonons, elastic constants, and growth.

Run with `python -m experiments benchmark crystals [RUN] --out DIR`.
"""

import argparse
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from experiments.benchmarks.crystals import elasticity, growth, phonons, space_groups
from experiments.benchmarks.crystals.pictures import draw_bands, draw_states
from experiments.benchmarks.crystals.untrained import Sizes
from experiments.benchmarks.options import add_out, natural, positive, positive_number
from experiments.benchmarks.report import (
    Table,
    print_caption,
    print_paths,
    print_tables,
    write_report,
)
from experiments.runs.folder import RunFolder

PARTS = ("space_groups", "phonons", "elasticity", "growth")
_SMALL = Sizes(hidden=8, layers=1, radial=3, degree=1)
_CAPTION = (
    "Untrained networks with random weights that pass messages between atoms within 4 Angstrom, and "
    "pairs that hold crystals together, in float64, or growth in what --dtype says. Averaged over "
    "local frames, they have the symmetry of the crystal; without a frame they are the control. Of a "
    "run instead its network, and crystals of its elements, in kinds of structures that may be "
    "strange to them; growth is that of an untrained network. "
    "Space groups: crystals strained in volume and shape, but not in symmetry, are relaxed with their "
    "cell by BFGS; the largest tolerance is that at which spglib still finds the space group of every "
    "one. Phonons: all atoms are displaced along three axes, both ways, and nothing is symmetrized; "
    "in THz, the largest acoustic frequency at Gamma (the root of rounding), differences of branches "
    "that symmetry makes degenerate at Gamma, Delta, X, Lambda and L, and of frequencies at wave "
    "vectors which differ by a rotation. Elasticity: the bulk modulus of an equation of state, and "
    "that of the elastic constants, which are slopes of stresses, should agree. Growth: rattled "
    "copper, from a few atoms to many."
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the tables, and writes them with their numbers if a folder is given.

    Args:
      arguments: the command line, that of the process by default.

    Raises:
      UsageError: the run is not one on crystals.
      ModuleNotFoundError: spglib or phonopy is not installed.
    """
    options = _parser().parse_args(arguments)
    console = Console()
    print_caption(console, _CAPTION)
    tables: list[Table] = []
    numbers: dict[str, Any] = {
        name: value for name, value in vars(options).items() if name not in ("out", "run")
    }
    numbers["run"] = None if options.run is None else str(options.run)
    paths: list[Path] = []
    pictures: list[Path] = []
    for part in options.parts:
        table, found, draw = _measure(part, options, console)
        console.print()
        print_tables(console, table)
        tables.append(table)
        numbers[part] = found
        if options.out is not None:
            # After each, so that an interruption loses no more than one.
            paths = write_report(options.out, "crystals", _CAPTION, tables, numbers)
            pictures += draw(options.out)
    print_paths(console, [*paths, *pictures])


def _measure(
    part: str, options: argparse.Namespace, console: Console
) -> tuple[Table, dict[str, Any], Callable[[Path], list[Path]]]:
    sizes = _SMALL if options.small else Sizes()
    run = None if options.run is None else RunFolder(options.run)
    if part == "space_groups":
        most = 1 if options.small else None
        found = space_groups.measure(console, run, most, options.steps, sizes, options.seed)
        return space_groups.table_of(found), space_groups.numbers_of(found), lambda _: []
    if part == "phonons":
        cells = 1 if options.small else options.cells
        split = phonons.measure(console, run, sizes, options.seed, cells, options.displacement)
        draw = functools.partial(draw_bands, found=split)
        return phonons.table_of(split), phonons.numbers_of(split), draw
    if part == "growth":
        costs = growth.measure(console, options.atoms, sizes, options.seed, options.dtype)
        return growth.table_of(costs), growth.numbers_of(costs), lambda _: []
    stiff = elasticity.measure(console, run, sizes, options.seed)
    draw = functools.partial(draw_states, found=stiff)
    return elasticity.table_of(stiff), elasticity.numbers_of(stiff), draw


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "run",
        metavar="RUN",
        nargs="?",
        type=Path,
        help="the folder of a run on crystals, for all but growth; untrained potentials by default",
    )
    parser.add_argument("--parts", choices=PARTS, nargs="+", default=list(PARTS))
    parser.add_argument("--steps", type=positive, default=200, help="the most of a relaxation")
    parser.add_argument(
        "--cells",
        type=positive,
        default=2,
        help="cubes along the edges of the supercell of phonons",
    )
    parser.add_argument(
        "--displacement", type=positive_number, default=1e-3, help="of phonons, in Angstrom"
    )
    parser.add_argument(
        "--atoms",
        type=positive,
        nargs="+",
        default=[500, 4000, 32000],
        help="of growth; 100000 take about 22 GB in float64",
    )
    parser.add_argument(
        "--dtype",
        choices=("float64", "float32"),
        default="float64",
        help="that growth is measured in",
    )
    parser.add_argument("--seed", type=natural, default=0, help="of the weights and strains")
    parser.add_argument(
        "--small",
        action="store_true",
        help="small networks, one crystal of a kind, small supercells",
    )
    add_out(parser, "the tables, their numbers and pictures")
    return parser
