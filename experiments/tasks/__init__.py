"""What can be trained: one file a task, found by name in `TASKS`."""

from collections.abc import Callable

from experiments.config import Config
from experiments.tasks._task import Batch as Batch
from experiments.tasks._task import Task as Task
from experiments.tasks.nbody import NBody

TASKS: dict[str, Callable[[Config], Task]] = {"nbody": NBody}
