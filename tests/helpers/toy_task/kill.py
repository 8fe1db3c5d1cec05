"""A process that kills itself in the middle of what it is told."""

import os
import signal
import threading
import time


def kill_while(command: str) -> None:
    """Arranges for the process to kill itself in the middle of what the command names."""
    from experiments.runs.checkpoint import Checkpoints
    from experiments.runs.folder import RunFolder

    what, count, delay = command.split()
    owner, name = {"save": (Checkpoints, "save"), "metrics": (RunFolder, "append_metrics")}[what]
    original, calls = getattr(owner, name), []

    def die():
        time.sleep(float(delay))
        os.kill(os.getpid(), signal.SIGKILL)

    def called(*args):
        calls.append(args)
        if len(calls) == int(count):
            threading.Thread(target=die, daemon=True).start()
        return original(*args)

    setattr(owner, name, called)
