"""Molecules: what energy, forces, dipole moment or polarizability do they have?"""

from typing import TYPE_CHECKING

from experiments.tasks.molecules.commands import export, frames, predict
from experiments.tasks.molecules.config import MoleculesConfig
from experiments.tasks.registry import TaskEntry

if TYPE_CHECKING:
    from experiments.tasks.molecules.task import MoleculesTask


def _make(config: MoleculesConfig) -> "MoleculesTask":
    from experiments.tasks.molecules.task import MoleculesTask

    return MoleculesTask(config)


ENTRY = TaskEntry(MoleculesConfig, _make, (predict.COMMAND, export.COMMAND, frames.COMMAND))
