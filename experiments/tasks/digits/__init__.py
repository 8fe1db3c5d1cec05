"""Handwritten digits at any angle: which digit is it?"""

from typing import TYPE_CHECKING

from experiments.tasks.digits.config import DigitsConfig
from experiments.tasks.registry import TaskEntry

if TYPE_CHECKING:
    from experiments.tasks.digits.task import Digits


def _make(config: DigitsConfig) -> "Digits":
    from experiments.tasks.digits.task import Digits

    return Digits(config)


ENTRY = TaskEntry(DigitsConfig, _make)
