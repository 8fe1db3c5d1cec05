"""Several processes that train one run together, by JAX's own distributed runtime."""

import atexit
import hashlib
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import numpy as np

from experiments.errors import DivergedError, ExperimentError, InterruptedRunError, UsageError
from experiments.training.watched import watch

_LAUNCHERS = (
    ("SLURM_STEP_NODELIST", "SLURM_NTASKS", "SLURM_PROCID", True),
    ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", True),
    ("PMI_RANK", "PMI_SIZE", "PMI_RANK", False),
)
"""Of srun, Open MPI and MPICH: a variable that they alone set, as a script that runs before srun has
some of the others, those of the number of processes and of which one this is, and whether JAX finds
the coordinator."""
_START = 45
"""Seconds in which all processes must have started."""
_SILENCE = 30
"""Seconds after which a process that is not heard of is taken for dead."""
_END = 300
"""Seconds that processes wait for each other when they part."""
_OF_OTHERS = ("gloo", "nccl", "coordination", "heartbeat", "connection reset", "socket closed")
"""What errors of an exchange with other processes say."""
_LOST = (
    "another process of this run has ended, and so does this one; what was saved is kept, and the "
    "run goes on from there when all are started again"
)


class Launch(NamedTuple):
    """How several processes find each other.

    Attributes:
      coordinator: host and port of the first process; `None` if JAX finds it.
      processes: how many there are; `None` if JAX finds it.
      process: which of them this one is; `None` if JAX finds it.
    """

    coordinator: str | None
    processes: int | None
    process: int | None


def find_launch(
    coordinator: str | None,
    processes: int | None,
    process: int | None,
    environment: Mapping[str, str] = os.environ,
) -> Launch | None:
    """How this process is one of several, or `None` if it is the only one.

    What is not given is taken from the environment, as srun, Open MPI and MPICH set it.

    Args:
      coordinator: host and port of the first process, or `"auto"` where JAX finds it, and all else,
        by itself, as on a TPU pod.
      processes: how many there are.
      process: which of them this one is, from zero.
      environment: the variables of the environment.

    Raises:
      UsageError: if the arguments do not fit together, or something is missing.
    """
    started = [
        (int(environment[size]), int(environment[rank]), found)
        for mark, size, rank, found in _LAUNCHERS
        if mark in environment
        and environment.get(size, "").isdigit()
        and environment.get(rank, "").isdigit()
    ]
    told = started[0] if started else None
    if coordinator == "auto":
        if processes is not None or process is not None:
            raise UsageError(
                "--processes and --process must be left out with --coordinator auto, got them"
            )
        return Launch(None, None, None)
    if coordinator is None:
        if processes is not None or process is not None:
            raise UsageError(
                "--coordinator must be given with --processes and --process, as HOST:PORT of the "
                "first process, got none"
            )
        on_pod = "," in environment.get("TPU_WORKER_HOSTNAMES", "")
        if told is None or told[0] == 1:
            return Launch(None, None, None) if on_pod else None
        if not told[2]:
            raise UsageError(
                f"--coordinator must be HOST:PORT of the first of the {told[0]} processes that "
                "PMI_SIZE tells of, got none"
            )
        return Launch(None, None, None)
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise UsageError(f"--coordinator must be HOST:PORT or auto, got {coordinator!r}")
    if (processes is None) != (process is None):
        raise UsageError("--processes and --process must be given together, got one of them")
    if processes is None or process is None:
        if told is None:
            variables = " or ".join(f"{size} and {rank}" for _, size, rank, _ in _LAUNCHERS)
            raise UsageError(
                "--processes and --process must be given with --coordinator where nothing in the "
                f"environment tells them ({variables}), got neither"
            )
        processes, process, _ = told
    if processes < 1 or not 0 <= process < processes:
        raise UsageError(
            f"--process must be from 0 to {processes - 1}, one less than --processes, got {process}"
        )
    return Launch(coordinator, processes, process) if processes > 1 else None


@contextmanager
def joined(launch: Launch | None) -> Iterator[bool]:
    """Joins the processes of a run; does nothing for one process, not even import JAX.

    A process that leaves it with an error ends at once, and so do all others, which cannot go on. A
    run that was interrupted, or has diverged, is so in all of them, which part first.

    Yields:
      Whether this process is the first one, which alone writes.

    Raises:
      ExperimentError: if the others cannot be reached, or one of them has ended.
    """
    if launch is None:
        yield True
        return
    watch(_LOST)
    try:
        _initialize(launch)
        yield is_first()
    except BaseException as error:
        code = 130 if isinstance(error, KeyboardInterrupt) else getattr(error, "exit_code", 1)
        # Handlers run last in, first out: that of JAX would wait for the others, and they for this.
        atexit.register(_exit_at_once, code)
        if isinstance(error, InterruptedRunError | DivergedError):
            # Otherwise the first to end would end the others, before they have saved or said it.
            with suppress(RuntimeError, ValueError):
                leave_others()
        if _is_of_others(error):
            raise ExperimentError(f"{_LOST} ({' '.join(str(error).split())[:200]})") from error
        raise


def is_first() -> bool:
    """Whether this process is the first one, which alone writes."""
    import jax

    return jax.process_index() == 0


def leave_others() -> None:
    """Leaves the other processes, when nothing is left to do together; it waits for all of them.

    What this process does then does not depend on them.
    """
    import jax

    if jax.process_count() > 1:
        # An exchange fails with an error where a process is lost; parting, with the end of all.
        any_process(False)
        jax.distributed.shutdown()


def any_process(flag: bool) -> bool:
    """Whether the flag is set in one of the processes; it waits for all of them."""
    import jax

    return bool(np.any(_of_all(np.array([flag])))) if jax.process_count() > 1 else flag


def first_then_others[Made](first: bool, make: Callable[[], Made]) -> Made:
    """What `make` returns, called by the first process and then by the others, which find its files.

    Args:
      first: whether this process is the first.
      make: what to call.
    """
    if first:
        made = make()
        any_process(False)
        return made
    any_process(False)
    return make()


def check_same(name: str, value: Callable[[], Any]) -> None:
    """Compares what processes have; it waits for all of them.

    Args:
      name: what it is called in the error.
      value: makes anything whose `repr` says what it is; not called for one process.

    Raises:
      UsageError: if they differ.
    """
    import jax

    if jax.process_count() == 1:
        return
    digest = hashlib.sha256(repr(value()).encode()).digest()
    digests = _of_all(np.frombuffer(digest, np.uint8))
    different = np.flatnonzero(np.any(digests != digests[0], axis=1))
    if len(different):
        leave_others()
        raise UsageError(
            f"{name} must be the same in all {len(digests)} processes, got another one in process "
            f"{different[0]} than in process 0"
        )


def _of_all(array: np.ndarray) -> np.ndarray:
    """The arrays of all processes, in their order."""
    from jax.experimental import multihost_utils

    return np.asarray(multihost_utils.process_allgather(array))


def _initialize(launch: Launch) -> None:
    import jax

    # It takes SIGTERM for itself, which the training loop notes.
    jax.config.update("jax_enable_preemption_service", False)
    where = launch.coordinator or "the address that the environment tells"
    missing = (
        "--coordinator must be where the first process of the run listens, and all processes must "
        f"start within {_START} s, got no connection of all of them at {where}"
    )
    # JAX itself would end the process with a page about its inside.
    patience = threading.Timer(_START, _give_up, [missing])
    patience.daemon = True
    patience.start()
    try:
        jax.distributed.initialize(
            *launch,
            initialization_timeout=2 * _START,
            heartbeat_timeout_seconds=_SILENCE,
            shutdown_timeout_seconds=_END,
        )
    # JAX has no type of its own for what can go wrong here.
    except (RuntimeError, ValueError, OSError) as error:
        raise ExperimentError(f"{missing} ({' '.join(str(error).split())[:200]})") from error
    finally:
        patience.cancel()


def _is_of_others(error: BaseException) -> bool:
    if isinstance(error, ExperimentError) or not isinstance(error, ValueError | RuntimeError):
        return False
    return any(word in str(error).lower() for word in _OF_OTHERS)


def _give_up(reason: str) -> None:
    print(f"error: {reason}", file=sys.stderr)
    _exit_at_once(ExperimentError.exit_code)


def _exit_at_once(code: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
