"""Charged five-body dynamics: where will the particles be?"""

from typing import TYPE_CHECKING

from experiments.tasks.nbody.config import NBodyConfig
from experiments.tasks.registry import TaskEntry

if TYPE_CHECKING:
    from experiments.tasks.nbody.task import NBody


def _make(config: NBodyConfig) -> "NBody":
    from experiments.tasks.nbody.task import NBody

    return NBody(config)


ENTRY = TaskEntry(NBodyConfig, _make)
