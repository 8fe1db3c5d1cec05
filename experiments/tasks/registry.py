"""The tasks by name. To add one, make its package, and name it in `TASKS`."""

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from experiments.config import Config
from experiments.errors import UsageError

if TYPE_CHECKING:
    from experiments.commands.command import Command
    from experiments.training.task import Task

TASKS = {
    "nbody": "experiments.tasks.nbody",
    "digits": "experiments.tasks.digits",
    "molecules": "experiments.tasks.molecules",
}
"""The package of each task by the value of `task` in a configuration."""


class TaskEntry(NamedTuple):
    """What the package of a task has as `ENTRY`.

    Attributes:
      config: the configuration of the task.
      make: builds the task of a configuration. It imports what it needs when it is called: JAX
        takes seconds to load.
      commands: commands that the task has of its own.
    """

    config: type[Config]
    make: "Callable[[Any], Task]"
    commands: "tuple[Command, ...]" = ()


def task_entry(name: str) -> TaskEntry:
    """The entry of the task of this name, one of `TASKS`."""
    return importlib.import_module(TASKS[name]).ENTRY


def task_commands() -> "list[Command]":
    """The commands that tasks have of their own."""
    return [command for name in TASKS for command in task_entry(name).commands]


def make_task(config: Config) -> "Task":
    """Builds the task that a configuration names.

    Raises:
      UsageError: if its data cannot be had or its model cannot be built as configured.
    """
    try:
        return task_entry(config.task).make(config)
    except (ValueError, OSError) as error:
        raise UsageError(str(error)) from error
