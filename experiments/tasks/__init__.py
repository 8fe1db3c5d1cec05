"""What can be trained: one file a task, found by name in `TASKS`."""

from collections.abc import Callable

from experiments.tasks._task import Batch as Batch
from experiments.tasks._task import Task as Task
from experiments.tasks.digits import Digits
from experiments.tasks.molecules import MoleculesTask
from experiments.tasks.nbody import NBody

TASKS: dict[str, Callable[..., Task]] = {
    "nbody": NBody,
    "digits": Digits,
    "molecules": MoleculesTask,
}
