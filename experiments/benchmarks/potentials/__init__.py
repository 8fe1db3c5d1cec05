"""Speed of potentials on ethanol in training, evaluation and dynamics, with that of e3x.

Run with `python -m experiments benchmark potentials --out DIR`, on a machine that does nothing
else.
"""

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from experiments.benchmarks.options import add_out, positive
from experiments.benchmarks.potentials.models import (
    BASELINE,
    MODELS,
    STEPS,
    TIME_STEP,
    Model,
    prepared,
)
from experiments.benchmarks.report import (
    Table,
    print_caption,
    print_paths,
    print_tables,
    write_report,
)
from experiments.benchmarks.timing import make_parser, medians, start
from experiments.errors import UsageError


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and prints the tables, and writes them with their numbers if a folder is given.

    Args:
      arguments: the command line, that of the process by default.
    """
    options = parser().parse_args(arguments)
    device = start(options.threads)
    console = Console()
    caption = (
        f"On {device}; medians of {options.repeats} samples, taken in turn. {describe(options)}"
    )
    print_caption(console, caption)
    results = measure(options, console)
    console.print()
    print_tables(console, *tables(results, options.batches))
    if options.out is not None:
        settings = {name: value for name, value in vars(options).items() if name != "out"}
        document = settings | {"device": device, "models": results}
        pages = tables(results, options.batches)
        print_paths(console, write_report(options.out, "potentials", caption, pages, document))


def describe(options: argparse.Namespace) -> str:
    """What the numbers of the tables mean."""
    return (
        "Ethanol in float32. "
        f"Networks {options.hidden} wide with {options.layers} layers, e3x {options.e3x_hidden} wide "
        f"with {options.e3x_layers}. Message passing is of degree 1, the others that have one of "
        "degree 2. In training, a step of the loop that trains, "
        f"{STEPS} in a dispatch: errors of energies and forces, AdamW, moving average. Then averaged "
        f"over the whole frame: energies and forces of {options.molecules} molecules at a time, and "
        f"velocity Verlet in ASE with {TIME_STEP} fs. In brackets: times as fast as e3x."
    )


def measure(options: argparse.Namespace, console: Console) -> dict[str, dict[str, Any]]:
    """Times the models, in turn.

    Args:
      options: those of `parser`.
      console: where progress is shown.

    Returns:
      The size of every model, and the median milliseconds of a step or of a molecule, by its name.
      The baseline is left out if it is not installed.
    """
    models = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in options.models:
            console.print(f"compiling {name}", highlight=False)
            try:
                models[name] = prepared(name, Path(folder), options)
            except UsageError as error:
                if name != BASELINE:
                    raise
                console.print(f"left out: {error}", soft_wrap=True, highlight=False, markup=False)
    return _times(models, options.repeats)


def tables(results: Mapping[str, Mapping[str, Any]], batches: Sequence[int]) -> list[Table]:
    """The tables of training and of use."""
    return [_training_table(results, batches), _use_table(results)]


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = make_parser(__doc__)
    parser.add_argument(
        "--models", nargs="+", choices=list(MODELS), default=list(MODELS), help="those to compare"
    )
    parser.add_argument("--batches", type=positive, nargs="+", default=[5, 32], help="in training")
    parser.add_argument("--molecules", type=positive, default=100, help="evaluated at a time")
    parser.add_argument(
        "--rattle", type=float, default=0.0, help="of atoms at the start of dynamics, in angstrom"
    )
    parser.add_argument("--hidden", type=positive, default=64, help="width of the networks")
    parser.add_argument("--layers", type=positive, default=4, help="their layers")
    parser.add_argument("--e3x-hidden", type=positive, default=32, help="width of e3x")
    parser.add_argument("--e3x-layers", type=positive, default=3, help="layers of e3x")
    add_out(parser, "the tables and their numbers")
    return parser


def _times(models: Mapping[str, Model], repeats: int) -> dict[str, dict[str, Any]]:
    """The size of every model, and its milliseconds for a step or a molecule."""
    calls = {
        (name, kind): call
        for name, model in models.items()
        for kind, (call, _) in model.calls.items()
    }
    times = medians(calls, repeats)
    return {
        name: {
            "parameters": model.parameters,
            "elements": model.elements,
            "ms": {kind: times[name, kind] / count for kind, (_, count) in model.calls.items()},
        }
        for name, model in models.items()
    }


def _training_table(results: Mapping[str, Mapping[str, Any]], batches: Sequence[int]) -> Table:
    names = ["training", "parameters"]
    for batch in batches:
        names += [f"step, batch {batch}", "molecules/s"]
    rows = []
    for name, result in results.items():
        rows.append([name, f"{result['parameters']:,}"])
        for batch in batches:
            time = result["ms"][f"batch {batch}"]
            faster = _faster(results, name, f"batch {batch}")
            rows[-1] += [f"{time:.2f} ms{faster}", f"{1e3 * batch / time:,.0f}"]
    return Table(names, rows)


def _use_table(results: Mapping[str, Mapping[str, Any]]) -> Table:
    names = ["whole frame", "elements", "molecules/s", "step in ASE", "ns/day"]
    rows = []
    for name, result in results.items():
        rate, step = 1e3 / result["ms"]["evaluation"], result["ms"]["dynamics"]
        # Femtoseconds a millisecond, and milliseconds a day.
        days = 1e-6 * TIME_STEP / step * 86_400_000
        rows.append(
            [
                name,
                f"{result['elements']}",
                f"{rate:,.0f}{_faster(results, name, 'evaluation')}",
                f"{step:.2f} ms",
                f"{days:.3g}{_faster(results, name, 'dynamics')}",
            ]
        )
    return Table(names, rows)


def _faster(results: Mapping[str, Mapping[str, Any]], name: str, kind: str) -> str:
    if BASELINE not in results:
        return ""
    return f" ({results[BASELINE]['ms'][kind] / results[name]['ms'][kind]:.2f})"
