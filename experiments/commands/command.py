"""What a command is: a name, its help, its arguments, and a function that runs it."""

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from experiments.compilation_cache import use_compilation_cache

if TYPE_CHECKING:
    from rich.console import Console

    from experiments.config import Config

# The modules of commands import no more than this: JAX and Orbax take seconds to load, and so wait
# until a command is known to make sense.


class Command(NamedTuple):
    """A command of `python -m experiments`.

    Attributes:
      name: what is typed.
      help: one line, for the list of commands.
      add_arguments: adds the arguments to the parser of the command.
      run: does what is asked; its errors are `ExperimentError`.
      description: what the help of the command begins with; by default `help`.
    """

    name: str
    help: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], None]
    description: str | None = None


def make_console(quiet: bool = False) -> "Console":
    """The console that commands print to; a quiet one prints nothing."""
    from rich.console import Console

    return Console(quiet=quiet)


def use_cache_of(config: "Config", options: argparse.Namespace) -> None:
    """Keeps compiled programs where the configuration says, unless the command line says it too."""
    if config.compilation_cache is not None and options.compilation_cache is None:
        use_compilation_cache(config.compilation_cache)
