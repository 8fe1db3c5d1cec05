"""The command `benchmark`: runs a benchmark, or lists them."""

import argparse

from experiments.commands.command import Command
from experiments.errors import UsageError


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", nargs="?", help="of the benchmark")
    parser.add_argument(
        "arguments", metavar="...", nargs=argparse.REMAINDER, help="its options; see NAME --help"
    )


def _run(options: argparse.Namespace) -> None:
    import importlib

    summaries = _summaries()
    if options.name is None:
        for name, summary in summaries.items():
            print(f"{name:12}  {summary}")
    elif options.name in summaries:
        importlib.import_module(f"experiments.benchmarks.{options.name}").main(options.arguments)
    else:
        raise UsageError(
            f"command line: the benchmark must be one of {', '.join(summaries)}, "
            f"got {options.name!r}"
        )


def _summaries() -> dict[str, str]:
    """The first line of the docstring of each benchmark, by its name.

    A benchmark is a module or package in `experiments.benchmarks` that defines a function `main`.
    The source says so without being imported, which would take seconds.
    """
    import ast
    import pkgutil
    from pathlib import Path

    from experiments import benchmarks

    summaries = {}
    for module in sorted(pkgutil.iter_modules(benchmarks.__path__), key=lambda info: info.name):
        file = f"{module.name}/__init__.py" if module.ispkg else f"{module.name}.py"
        source = ast.parse(Path(benchmarks.__path__[0], file).read_text("utf-8"))
        if any(isinstance(node, ast.FunctionDef) and node.name == "main" for node in source.body):
            summaries[module.name] = (ast.get_docstring(source) or "").partition("\n")[0]
    return summaries


COMMAND = Command(
    "benchmark",
    "run a benchmark, or list them",
    _add_arguments,
    _run,
    "Runs a benchmark with options of its own; without a name, lists them.",
)
