"""The command line: finds the command, and turns its errors into one line and an exit code."""

import argparse
import sys
import warnings
from collections.abc import Sequence

from experiments.commands import audit, benchmark, evaluate, report, train
from experiments.commands.output import lasting_output
from experiments.compilation_cache import use_compilation_cache
from experiments.errors import ExperimentError, InterruptedRunError
from experiments.tasks.registry import task_commands


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
      arguments: what follows the program's name; by default what the process was started with.

    When nobody reads what it prints any more, it says so and goes on.

    Returns:
      The exit code: 0 when all went well, 1 also if the output could not be written, 2 for a
      mistake in what was asked, 3 for a run whose loss stopped being finite, 130 for one that was
      interrupted.
    """
    with lasting_output() as streams:
        code = _run(arguments)
    failures = [stream.failure for stream in streams if stream.failure is not None]
    # That the reader has gone is no failure: it had read enough.
    lost = any(not isinstance(failure, BrokenPipeError) for failure in failures)
    return code or int(lost)


def _run(arguments: Sequence[str] | None) -> int:
    try:
        options = _parser().parse_args(arguments)
        with warnings.catch_warnings():
            warnings.showwarning = _print_warning
            use_compilation_cache(options.compilation_cache)
            options.run_command(options)
    except InterruptedRunError as interruption:
        print(interruption, file=sys.stderr)
        return interruption.exit_code
    except ExperimentError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except MemoryError as error:
        print(
            f"error: there is not enough memory: {error or 'nothing more is known'}",
            file=sys.stderr,
        )
        return 1
    except KeyboardInterrupt:
        print("stopped at once; what was saved before is kept", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m experiments",
        description="Trains, evaluates and reports on networks made equivariant by averaging.",
    )
    parser.add_argument(
        "--compilation-cache",
        metavar="DIR",
        help="where compiled programs are kept, by default JAX_COMPILATION_CACHE_DIR or a folder of "
        "the user's cache; '' keeps none",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    shared = (train.COMMAND, evaluate.COMMAND, report.COMMAND, audit.COMMAND, benchmark.COMMAND)
    for command in (*shared, *task_commands()):
        subparser = commands.add_parser(
            command.name, help=command.help, description=command.description or command.help
        )
        command.add_arguments(subparser)
        subparser.set_defaults(run_command=command.run)
    return parser


def _print_warning(message: Warning | str, *unused: object, **unnamed: object) -> None:
    print(f"warning: {message}", file=sys.stderr)
