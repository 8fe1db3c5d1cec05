"""A process that watches over a training one, and says in one line why JAX has ended it."""

import contextlib
import os
import re
import signal
import sys
import threading
from types import FrameType
from typing import NoReturn

_PAGE = re.compile(rb"[EF]\d{4} \S+ +\d+ (coordination_service\w*|client)\.(h|cc):\d+\]")
"""How the first line begins of what JAX prints before it aborts a process that others left alone."""
_PATIENCE = 2
"""Seconds after the end in which the last lines are waited for."""


def watch(lost: str) -> None:
    """Goes on in a new process, whose errors this one passes on, and as which it ends.

    JAX aborts a process, whatever it does, when another one is lost, and prints a page about its
    inside. That page is left out, and the exit code of an abort is 1. All else is as without it:
    signals are handed on, and each of the two processes ends with the other. It does nothing where
    processes cannot be forked, and must be called before there are threads.

    Args:
      lost: what is printed instead of the page, where nothing behind it says what is wrong.
    """
    if not hasattr(os, "fork"):
        return
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    errors, to_errors = os.pipe()
    # Nothing is ever written to it: it closes when the watching process ends.
    alive, to_alive = os.pipe()
    child = os.fork()
    if child:
        os.close(to_errors)
        os.close(alive)
        _end_as(child, errors, lost)
    os.close(errors)
    os.close(to_alive)
    # Ctrl-C reaches all processes of a group: it would come twice.
    os.setpgid(0, 0)
    os.dup2(to_errors, 2)
    os.close(to_errors)
    threading.Thread(target=_end_with_the_watching, args=(alive,), daemon=True).start()


def _end_with_the_watching(alive: int) -> NoReturn:
    os.read(alive, 1)
    os._exit(1)


def _end_as(child: int, errors: int, lost: str) -> NoReturn:
    """Passes on signals and errors, and ends this process as the other one ends."""

    def hand_on(number: int, frame: FrameType | None) -> None:
        del frame
        os.kill(child, number)

    def pause(number: int, frame: FrameType | None) -> None:
        del number, frame
        os.kill(child, signal.SIGSTOP)
        os.kill(os.getpid(), signal.SIGSTOP)
        # From here on it goes on, as with `fg`.
        os.kill(child, signal.SIGCONT)

    if signal.getsignal(signal.SIGTSTP) != signal.SIG_IGN:
        signal.signal(signal.SIGTSTP, pause)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        # One that is ignored, as SIGHUP under nohup, is ignored by both.
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, hand_on)
    held: list[bytes] = []
    reader = threading.Thread(target=_pass_on, args=(errors, held), daemon=True)
    reader.start()
    _, status = os.waitpid(child, 0)
    # Whatever the other process has started may keep the pipe open.
    reader.join(_PATIENCE)
    code = os.waitstatus_to_exitcode(status)
    # The process may have said by itself, behind the page, what it ends with.
    own = [line for line in held if line.startswith(b"error: ")]
    aborted = held and code == -signal.SIGABRT
    for line in own or ([f"error: {lost}\n".encode()] if aborted else held):
        _write(line)
    if aborted:
        os._exit(1)
    if code < 0:
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


def _pass_on(errors: int, held: list[bytes]) -> None:
    """Writes lines as they come, and holds back a page of JAX and what follows it."""
    with open(errors, "rb") as lines:
        for line in lines:
            if held or _PAGE.match(line):
                held.append(line)
            else:
                _write(line)


def _write(line: bytes) -> None:
    # Nobody may be reading: the other process must not wait for that.
    with contextlib.suppress(OSError):
        os.write(2, line)
