"""A task as a person would add one: this package, a line in the registry, and a YAML file."""

from experiments.tasks.registry import TaskEntry
from tests.helpers.toy_task.config import ToyConfig

NAME, PACKAGE = "toy", "tests.helpers.toy_task"
"""The line in the registry."""


def _make(config: ToyConfig):
    from tests.helpers.toy_task.task import Toy

    return Toy(config)


ENTRY = TaskEntry(ToyConfig, _make)
