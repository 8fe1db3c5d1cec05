"""Trainings of the toy in processes of their own, which can be killed.

They are forked from a server that has imported all there is to import, which takes longer than to train.
"""

import multiprocessing
import os
import sys
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import jax

from tests.helpers.toy_task import config as toy_config

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    ["experiments.results.report", "experiments.training.train", "tests.helpers.toy_task.task"]
)


class Training:
    """A process that trains the toy in `folder / "run"`.

    Args:
      folder: where the configuration and the run are put.
      overrides: assignments as on the command line, and options.
      kill: where the process kills itself, as `kill_while` reads it.
      log: the name of the file that has what it prints.
    """

    def __init__(self, folder: Path, *overrides: str, kill: str | None = None, log: str = "log"):
        config = folder / "toy.yaml"
        if not config.exists():
            # Once: another process may be reading it.
            config.write_text(toy_config.TEXT.format(run=folder / "run"))
        self._log = folder / log
        self._log.write_text("")
        arguments = ["train", str(config), *overrides]
        self._process: ForkServerProcess = _CONTEXT.Process(
            target=_run, args=(arguments, str(self._log), kill, jax.config.jax_enable_x64)
        )
        self._process.start()

    @property
    def output(self) -> str:
        """What it has printed so far."""
        return self._log.read_text()

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process.is_alive()

    def wait(self) -> int:
        """Waits for the end, and returns the exit code: minus the signal, if one has ended it."""
        self._process.join(timeout=240)
        assert self._process.exitcode is not None, f"does not end; {self.output}"
        return self._process.exitcode

    def signal(self, number: int) -> None:
        """Sends a signal."""
        assert self._process.pid is not None
        os.kill(self._process.pid, number)


def _run(arguments: list[str], log: str, kill: str | None, double: bool) -> None:
    file = os.open(log, os.O_WRONLY | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)

    from experiments.commands.main import main
    from experiments.tasks.registry import TASKS
    from tests.helpers import toy_task
    from tests.helpers.toy_task.kill import kill_while

    # As in the process of the tests, which could not read its checkpoints otherwise.
    jax.config.update("jax_enable_x64", double)
    TASKS[toy_task.NAME] = toy_task.PACKAGE
    if kill is not None:
        kill_while(kill)
    code = main(arguments)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
