"""A process that others have left alone ends with one line, whatever JAX prints."""

import signal
import subprocess
import sys
import time

import pytest

from tests.helpers.ports import free_port

WATCHED = (
    "import os, signal, sys, time; from experiments.training.watched import watch; watch('lost'); "
)
PAGE = (
    "print('E1129 21:31:11.556587   27667 coordination_service.cc:1518] [7] UNAVAILABLE', "
    "'F1129 21:31:11.557045   27678 client.h:86] Terminating', '*** stack ***', "
    "sep='\\n', file=sys.stderr, flush=True); "
)
SAYS = "print('one', file=sys.stderr); print('out', flush=True); "


def run(program):
    return subprocess.run(
        [sys.executable, "-c", WATCHED + program], capture_output=True, text=True, timeout=60
    )


def test_the_page_of_an_abort_becomes_one_line():
    found = run(SAYS + PAGE + "os.abort()")
    assert (found.returncode, found.stdout) == (1, "out\n")
    assert found.stderr == "one\nerror: lost\n"


@pytest.mark.parametrize(("end", "code"), [("sys.exit(2)", 2), ("os.abort()", 1)])
def test_what_a_process_says_behind_the_page_is_what_is_told(end, code):
    found = run(SAYS + PAGE + "print('error: why', file=sys.stderr, flush=True); " + end)
    assert (found.returncode, found.stderr) == (code, "one\nerror: why\n")


@pytest.mark.parametrize(
    ("end", "code"),
    [
        # The controls: an abort of another kind, and a page that no abort follows.
        ("os.abort()", -signal.SIGABRT),
        (PAGE + "sys.exit(3)", 3),
        ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
        ("sys.exit(0)", 0),
    ],
)
def test_all_else_is_as_without_it(end, code):
    found = run(SAYS + end)
    assert (found.returncode, found.stdout) == (code, "out\n")
    assert found.stderr.splitlines()[0] == "one" and "lost" not in found.stderr
    assert ("Terminating" in found.stderr) == (PAGE in end)


def test_signals_reach_it_once():
    program = (
        "said = []; signal.signal(signal.SIGTERM, lambda *_: said.append(1)); "
        "print(os.getpid(), flush=True)\n"
        "while not said: time.sleep(0.01)\n"
        "time.sleep(0.2); sys.exit(10 + len(said))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", WATCHED + program], stdout=subprocess.PIPE
    ) as seen:
        assert seen.stdout is not None and int(seen.stdout.readline()) != seen.pid
        seen.send_signal(signal.SIGTERM)
        assert seen.wait(timeout=30) == 11


def test_what_is_stopped_at_a_terminal_is_stopped_and_goes_on():
    program = "print(os.getpid(), flush=True); sys.stdin.readline(); print('read')"
    with subprocess.Popen(
        [sys.executable, "-c", WATCHED + program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as seen:
        assert seen.stdin is not None and seen.stdout is not None
        watched = int(seen.stdout.readline())
        assert _state(watched) != "T"
        seen.send_signal(signal.SIGTSTP)
        _wait_until(lambda: _state(watched) == _state(seen.pid) == "T")
        seen.send_signal(signal.SIGCONT)
        _wait_until(lambda: "T" not in (_state(watched), _state(seen.pid)))
        assert seen.communicate("\n", timeout=30)[0] == "read\n" and seen.returncode == 0


def test_it_ends_with_the_process_that_watches():
    program = "print(os.getpid(), flush=True); time.sleep(60)"
    with subprocess.Popen(
        [sys.executable, "-c", WATCHED + program], stdout=subprocess.PIPE
    ) as seen:
        assert seen.stdout is not None
        watched = int(seen.stdout.readline())
        seen.kill()
        # The end of its output: nobody holds it any more.
        assert seen.stdout.read() == b""
    # One whose parent has not asked for its end yet has ended all the same.
    _wait_until(lambda: _state(watched) in (None, "Z"))


def _wait_until(holds):
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and not holds():
        time.sleep(0.01)
    assert holds()


def _state(process):
    """The letter that the system has for what a process does, or `None` if there is none."""
    try:
        with open(f"/proc/{process}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return None


def start_both(program):
    """Starts the program twice, with the number of the process as its argument."""
    return [
        subprocess.Popen(
            [sys.executable, "-c", program, str(process)], stderr=subprocess.PIPE, text=True
        )
        for process in range(2)
    ]


def test_a_process_that_computes_ends_with_one_line_when_the_first_is_lost():
    port = free_port()
    program = (
        "import os, signal, sys, time\n"
        "from experiments.training import hosts\n"
        "process = int(sys.argv[1])\n"
        f"with hosts.joined(hosts.Launch('localhost:{port}', 2, process)):\n"
        "    hosts.any_process(False)\n"
        "    if not process: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    time.sleep(60)\n"
    )
    first, other = start_both(program)
    _, told = other.communicate(timeout=90)
    first.communicate(timeout=10)
    assert (first.returncode, other.returncode) == (-signal.SIGKILL, 1)
    lines = [line for line in told.splitlines() if "[Gloo]" not in line]
    assert len(lines) == 1 and "another process of this run has ended" in lines[0], told


@pytest.mark.parametrize(
    ("end", "code", "told"),
    [
        ("raise InterruptedRunError('stopped')", 130, "stopped"),
        ("hosts.check_same('it', lambda: process)", 2, "it must be the same in all"),
    ],
)
def test_processes_that_end_together_part_before(end, code, told):
    port = free_port()
    program = (
        "import atexit, sys, time\n"
        "from experiments.errors import InterruptedRunError, UsageError\n"
        "from experiments.training import hosts\n"
        "process = int(sys.argv[1])\n"
        "try:\n"
        f"    with hosts.joined(hosts.Launch('localhost:{port}', 2, process)):\n"
        "        hosts.any_process(False)\n"
        "        gathered = hosts._of_all\n"
        "        def late(array):\n"
        "            found = gathered(array)\n"
        "            time.sleep(0.5 * process)\n"
        "            return found\n"
        "        hosts._of_all = late\n"
        "        hosts.any_process(False)\n"
        f"        {end}\n"
        "except (InterruptedRunError, UsageError) as error:\n"
        "    print(error, file=sys.stderr)\n"
        "    sys.exit(error.exit_code)\n"
    )
    started = start_both(program)
    said = [process.communicate(timeout=60)[1] for process in started]
    assert started[1].returncode == code and told in said[1], said
    assert "Terminating" not in said[1]
