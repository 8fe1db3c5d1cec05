"""The command `benchmark`: runs a benchmark, or lists them."""

import argparse
import ast
from pathlib import Path

from experiments.commands.command import Command
from experiments.errors import UsageError


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", nargs="?", help="of the benchmark")
    parser.add_argument(
        "arguments", metavar="...", nargs=argparse.REMAINDER, help="its options; see NAME --help"
    )


def _run(options: argparse.Namespace) -> None:
    import importlib

    from experiments import benchmarks

    folder = Path(benchmarks.__path__[0])
    paths = {path.stem: path for path in sorted(folder.glob("[!_]*.py"))}
    if options.name is None:
        for name, path in paths.items():
            first, *_ = (ast.get_docstring(ast.parse(path.read_text("utf-8"))) or "").splitlines()
            print(f"{name:10}  {first}")
        return
    if options.name not in paths:
        raise UsageError(
            f"command line: the benchmark must be one of {', '.join(paths)}, got {options.name!r}"
        )
    importlib.import_module(f"experiments.benchmarks.{options.name}").main(options.arguments)


COMMAND = Command(
    "benchmark",
    "run a benchmark, or list them",
    _add_arguments,
    _run,
    "Runs a benchmark with options of its own; without a name, lists them.",
)
