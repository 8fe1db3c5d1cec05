"""What frames and training cost on the accelerator of this machine, and how exact they are there.

Run with `python -m experiments benchmark device [PART ...] --out DIR`: a few minutes on whatever
device JAX finds first. Steps of training are timed on the CPU beside it, if it is no CPU itself.
"""

import argparse
from collections.abc import Callable, Sequence
from typing import Any

import jax
from rich.console import Console

from experiments.benchmarks.device import errors, frames, steps
from experiments.benchmarks.options import add_out, positive
from experiments.benchmarks.report import (
    Table,
    print_caption,
    print_paths,
    print_tables,
    write_report,
)
from experiments.benchmarks.speed.part import Part
from experiments.benchmarks.timing import make_parser, start

PARTS: dict[str, Callable[[argparse.Namespace], Part]] = {
    "errors": errors.measure,
    "frames": frames.measure,
    "steps": steps.measure,
}
"""The parts by name."""
_QUICK = {"repeats": 2, "examples": 16, "clouds": [64], "batches": [4], "hidden": 8, "layers": 1}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and prints the parts, and writes them with their numbers if a folder is given.

    Args:
      arguments: the command line, that of the process by default.
    """
    options = _parser().parse_args(arguments)
    if options.quick:
        vars(options).update(_QUICK)
    console = Console()
    device = start(options.threads)
    caption = (
        f"On {device} ({jax.default_backend()}, JAX {jax.__version__}). Times are medians of "
        f"{options.repeats} samples taken in turn; every call is warm and waited for."
    )
    print_caption(console, caption)
    numbers: dict[str, Any] = {}
    tables: list[Table] = []
    for name in options.parts or PARTS:
        part = PARTS[name](options)
        console.print()
        print_caption(console, part.caption)
        print_tables(console, *part.tables)
        numbers[name] = part.numbers
        tables += part.tables
    numbers["peak_bytes"] = peak_bytes()
    print_caption(console, f"\nPeak memory of the device: {_shown_bytes(numbers['peak_bytes'])}.")
    if options.out is not None:
        settings = {name: value for name, value in vars(options).items() if name != "out"}
        document = settings | {"device": device, "results": numbers}
        print_paths(console, write_report(options.out, "device", caption, tables, document))


def peak_bytes() -> int | None:
    """The most memory that the first device has had in use; `None` where it does not tell."""
    stats = jax.devices()[0].memory_stats()
    return None if stats is None else stats.get("peak_bytes_in_use")


def _shown_bytes(count: int | None) -> str:
    return "not told" if count is None else f"{count / 2**20:,.0f} MiB"


def _parser() -> argparse.ArgumentParser:
    parser = make_parser(__doc__)
    parser.set_defaults(repeats=7)
    parser.add_argument("parts", metavar="PART", nargs="*", type=_part, help="by default all")
    parser.add_argument("--quick", action="store_true", help="small sizes, in some seconds")
    parser.add_argument("--examples", type=positive, default=256, help="clouds of errors")
    parser.add_argument(
        "--clouds", type=positive, nargs="+", default=[4096, 65536], help="whose frames are made"
    )
    parser.add_argument(
        "--batches", type=positive, nargs="+", default=[100, 1600], help="in training"
    )
    parser.add_argument("--hidden", type=positive, default=64, help="width of networks")
    parser.add_argument("--layers", type=positive, default=4, help="their layers")
    add_out(parser, "the tables and their numbers")
    return parser


def _part(text: str) -> str:
    if text not in PARTS:
        raise argparse.ArgumentTypeError(f"must be one of {', '.join(PARTS)}, got {text!r}")
    return text
