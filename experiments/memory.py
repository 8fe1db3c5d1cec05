"""How much memory a process may still take."""

import resource
from pathlib import Path

_CONTROL_GROUPS = Path("/sys/fs/cgroup")


def free_memory() -> int | None:
    """The bytes that this process may still take without being refused or killed.

    That is the least of what the machine has free, of what its container may take, and of what the
    process itself may take. Only Linux tells the first two.

    Returns:
      A number of bytes, or `None` if nothing is known.
    """
    bounds = [_of_machine(), *_of_containers(), _of_process()]
    return min((bound for bound in bounds if bound is not None), default=None)


def _of_machine() -> int | None:
    free = _fields("/proc/meminfo").get("MemAvailable")
    return None if free is None else 1024 * free


def _of_containers() -> list[int]:
    bounds = []
    for line in _lines("/proc/self/cgroup"):
        # Version 2; each group is bounded by those around it too.
        kind, _, path = line.rpartition(":")
        folder = _CONTROL_GROUPS / path.lstrip("/")
        for group in (folder, *folder.parents) if kind == "0:" else ():
            most = "".join(_lines(group / "memory.max"))
            used = "".join(_lines(group / "memory.current"))
            if most.isdecimal() and used.isdecimal():
                # Files that were read once are let go first.
                kept = _fields(group / "memory.stat").get("inactive_file", 0)
                bounds.append(max(0, int(most) - int(used) + kept))
    return bounds


def _of_process() -> int | None:
    most, _ = resource.getrlimit(resource.RLIMIT_AS)
    used = _fields("/proc/self/status").get("VmSize", 0)
    return None if most == resource.RLIM_INFINITY else max(0, most - 1024 * used)


def _lines(path: str | Path) -> list[str]:
    try:
        return Path(path).read_text("utf-8").splitlines()
    except (OSError, ValueError):
        return []


def _fields(path: str | Path) -> dict[str, int]:
    """Lines such as `MemAvailable: 12 kB` by their first word."""
    words = [line.replace(":", " ").split() for line in _lines(path)]
    return {row[0]: int(row[1]) for row in words if len(row) > 1 and row[1].isdecimal()}
