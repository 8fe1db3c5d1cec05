"""Programs of other interpreters, timed in turn with ours: one runs while the other waits."""

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.errors import ExperimentError


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
