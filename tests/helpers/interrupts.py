"""Interrupts of a training, as by a person at the keyboard."""

import os
import signal

from experiments.training.progress import TrainingProgress


def interrupt_at(patch, step: int) -> None:
    """Sends SIGINT to this process once a training has taken so many steps."""
    original = TrainingProgress.dispatched

    def interrupting(self, taken, loss):
        original(self, taken, loss)
        if taken == step:
            os.kill(os.getpid(), signal.SIGINT)

    patch.setattr(TrainingProgress, "dispatched", interrupting)
