"""Whether the machine does other work, which would be measured with ours."""

import os
import time
from pathlib import Path

from experiments.errors import UsageError

_STAT = Path("/proc/stat")
_WAIT = 1.0
"""Seconds over which other work is looked at."""
_MOST = 0.1
"""Cores that others may use."""
_MOST_LOAD = 0.5
"""Load average of a minute that is allowed, for each core."""


def refuse_load(allowed: bool) -> dict[str, float | None]:
    """Refuses to measure on a machine that does other work.

    Args:
      allowed: whether such a machine is accepted all the same.

    Returns:
      The `load` average of the last minute for each core, and the cores that `others` use; `None`
      where the system does not tell.

    Raises:
      UsageError: others use a tenth of a core, or the load average is above a half for each core.
    """
    begin = Others()
    time.sleep(_WAIT)
    found = {"load": _load(), "others": begin.cores()}
    if not allowed and (_above(found["others"], _MOST) or _above(found["load"], _MOST_LOAD)):
        raise UsageError(
            "the machine must do nothing else: others may use "
            f"{_MOST:g} cores at a load average of {_MOST_LOAD:g} for each core, got "
            f"{_words(found['others'])} and {_words(found['load'])}; --loaded measures all the same"
        )
    return found


class Others:
    """The cores that other processes use from now on."""

    def __init__(self) -> None:
        self._begin = time.monotonic(), _busy(), _own()

    def cores(self) -> float | None:
        """Their number since the beginning, or `None` where the system does not tell."""
        begin, busy, own = self._begin
        now = _busy()
        if busy is None or now is None:
            return None
        used = (now - busy) - (_own() - own)
        return max(0.0, used / max(time.monotonic() - begin, 1e-9))


def _busy() -> float | None:
    """Seconds that all cores together have worked since the machine was started."""
    try:
        fields = _STAT.read_text("utf-8").split("\n", 1)[0].split()
    except OSError:
        return None
    # user, nice, system, idle, waiting for input, interrupts, soft interrupts, stolen by others
    ticks = [int(field) for field in fields[1:9]]
    return (sum(ticks) - sum(ticks[3:5])) / os.sysconf("SC_CLK_TCK")


def _own() -> float:
    """Seconds that this process has worked, and those it has started that have ended."""
    own = os.times()
    return own.user + own.system + own.children_user + own.children_system


def _load() -> float | None:
    try:
        return os.getloadavg()[0] / (os.cpu_count() or 1)
    except (AttributeError, OSError):
        return None


def _above(value: float | None, most: float) -> bool:
    return value is not None and value > most


def _words(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2f}"
