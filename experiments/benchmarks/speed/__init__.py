"""Speed and memory of the library, part by part, with other libraries beside it.

Run with `python -m experiments benchmark speed [PART ...] --out DIR`, on a machine that does
nothing else. A part is a module of this package with a function `measure` and a line in `PARTS`.
"""

import argparse
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from experiments.benchmarks.options import add_out, natural, positive
from experiments.benchmarks.report import (
    Table,
    print_caption,
    print_paths,
    print_tables,
    write_report,
)
from experiments.benchmarks.speed.machine import Others, refuse_load
from experiments.benchmarks.speed.part import Measure, Part
from experiments.benchmarks.timing import CLOCKS, make_parser, start

PARTS = {
    "frames": "frames and projected clouds, against other libraries and a plain copy",
    "averages": "averages over a frame, against as many evaluations of the backbone",
    "layers": "the layer-wise averaged network, against those of PyTorch and e3nn-jax",
    "potentials": "potentials of ethanol in training, evaluation and dynamics, against e3x",
    "compile": "seconds to the first steps of training, without and with the cache of programs",
    "memory": "temporaries of averages and frames, which are counted",
    "growth": "time and memory against points, clouds, elements, group order and image size",
}
"""The parts by name, and what each measures."""

_MODULES = {name: f"experiments.benchmarks.speed.{name}" for name in PARTS} | {
    "compile": "experiments.benchmarks.speed.compilation"  # `compile` is a function of Python
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and prints the parts, and writes them with their numbers if a folder is given.

    Args:
      arguments: the command line, that of the process by default.

    Raises:
      UsageError: the machine does other work, and `--loaded` is not given.
    """
    options = parser().parse_args(arguments)
    if options.quick:
        _make_quick(options)
    console = Console()
    machine = refuse_load(options.loaded)
    device = start(options.threads)
    chosen = options.parts or list(PARTS)
    caption = (
        f"On {device}. {_CLOCKS[options.clock]}, medians and quartiles of {options.repeats} samples "
        "taken in turn; every call is warm and waited for."
    )
    print_caption(console, caption)
    numbers: dict[str, Any] = {}
    tables: list[Table] = []
    paths: list[Path] = []
    for name in chosen:
        console.print(f"\n{name}: {PARTS[name]}", highlight=False)
        others = Others()
        part = measure(name, options)
        used = others.cores()
        print_caption(console, part.caption)
        print_tables(console, *part.tables)
        numbers[name] = dict(part.numbers) | {"cores_of_others": used}
        tables += part.tables
        if used is not None:
            console.print(f"others used {used:.2f} cores meanwhile", highlight=False)
        if options.out is not None and part.draw is not None:
            paths += part.draw(options.out)
    if options.out is not None:
        settings = {name: value for name, value in vars(options).items() if name != "out"}
        document = settings | {"device": device, "machine": machine, "results": numbers}
        print_paths(
            console, [*write_report(options.out, "speed", caption, tables, document), *paths]
        )


def measure(name: str, options: argparse.Namespace) -> Part:
    """Measures a part.

    Args:
      name: a key of `PARTS`.
      options: those of `parser`.
    """
    function: Measure = importlib.import_module(_MODULES[name]).measure
    return function(options)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parts = "\n".join(f"  {name:12}{meaning}" for name, meaning in PARTS.items())
    parser = make_parser(f"{__doc__}\nparts:\n{parts}")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("parts", metavar="PART", nargs="*", type=_part, help="by default all")
    parser.add_argument("--quick", action="store_true", help="small sizes, in a minute or two")
    parser.add_argument(
        "--loaded", action="store_true", help="measure although the machine does other work"
    )
    parser.add_argument(
        "--clock", choices=list(CLOCKS), default="wall", help="cpu: time of the processor"
    )
    parser.add_argument(
        "--torch-python",
        metavar="PATH",
        default=sys.executable,
        help="the interpreter that has PyTorch",
    )
    parser.add_argument("--clouds", type=positive, default=16_384, help="of the part frames")
    parser.add_argument("--systems", type=positive, default=100, help="of the part averages")
    parser.add_argument("--hidden", type=positive, default=64, help="width of backbones")
    parser.add_argument("--layers", type=positive, default=4, help="layers of backbones")
    parser.add_argument(
        "--config", default="configs/nbody_demo.yaml", help="the run of the part compile"
    )
    parser.add_argument("--pca-points", type=positive, default=10**6, help="most points, PCA")
    parser.add_argument("--robust-points", type=positive, default=10**4, help="most points, robust")
    parser.add_argument("--elements", type=positive, default=64, help="most elements, and order")
    parser.add_argument("--side", type=positive, default=128, help="largest side of an image")
    parser.add_argument("--starts", type=natural, default=1, help="starts of the part compile")
    add_out(parser, "the tables, their numbers and pictures")
    return parser


_CLOCKS = {"wall": "Times on the clock", "cpu": "Times of the processor"}
_QUICK = {
    "repeats": 5,
    "clouds": 1024,
    "systems": 10,
    "hidden": 16,
    "layers": 2,
    "pca_points": 10**4,
    "robust_points": 300,
    "elements": 8,
    "side": 32,
}


def _make_quick(options: argparse.Namespace) -> None:
    """Makes sizes small, those that were given smaller aside."""
    for name, size in _QUICK.items():
        setattr(options, name, min(getattr(options, name), size))


def _part(text: str) -> str:
    if text not in PARTS:
        raise argparse.ArgumentTypeError(f"must be one of {', '.join(PARTS)}, got {text!r}")
    return text
