"""Other libraries: programs of other interpreters, timed in turn with ours, and modules of ours."""

import importlib
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from experiments.errors import ExperimentError

MISSING = "not installed"
"""What a table says of a library that is not there."""


def with_library(module: str, library: str) -> ModuleType | str:
    """Imports a module of ours that needs another library.

    Args:
      module: the full name of the module.
      library: the name by which the library is imported.

    Returns:
      The module, or why there is none: `MISSING`, or one line with the reason for which the library
      that is installed cannot be imported.
    """
    try:
        importlib.import_module(library)
    except Exception as error:  # A library that does not fit the version of JAX raises anything.
        if isinstance(error, ModuleNotFoundError) and error.name == library:
            return MISSING
        reason = str(error).strip().partition("\n")[0]
        return f"cannot be imported: {type(error).__name__}: {reason}"
    return importlib.import_module(module)


class Peer:
    """A program that times what it is told to, in a process of its own.

    Its first line is JSON: `names` of what it can time, or `missing`, the package that it lacks.
    It then obeys lines of a name and a count, and answers each with the seconds of one.

    Args:
      interpreter: the Python that runs it; it need not have JAX.
      program: its file.
      arguments: those of its command line.

    Attributes:
      about: its first line.
    """

    def __init__(self, interpreter: str, program: Path, arguments: Sequence[str]) -> None:
        try:
            self._process = subprocess.Popen(
                [interpreter, str(program), *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
        except OSError as error:
            raise ExperimentError(f"{interpreter}: cannot be run: {error.strerror}") from None
        self._interpreter = interpreter
        try:
            self.about: dict[str, Any] = json.loads(self._read())
        except ValueError:
            self.close()
            raise ExperimentError(
                f"{interpreter}: {program.name} did not begin as a peer"
            ) from None

    @property
    def names(self) -> list[str]:
        """What it can time."""
        return list(self.about.get("names", ()))

    def seconds(self, name: str, count: int) -> float:
        """Runs something so many times, and returns the seconds of one."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{name} {count}\n")
            self._process.stdin.flush()
            return float(self._read())
        except (OSError, ValueError):
            raise ExperimentError(f"{self._interpreter}: the peer has failed in {name}") from None

    def close(self) -> None:
        """Ends the process."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.close()
        except OSError:
            pass
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._process.kill()
        self._process.wait()

    def __enter__(self) -> "Peer":
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()
