"""Commands whose reader goes away, and what they do then."""

import os
import sys

import pytest

from experiments.commands.main import main
from tests.helpers.toy_task import config as toy_config


@pytest.fixture(scope="module")
def trained(tmp_path_factory, with_toy):
    folder = tmp_path_factory.mktemp("output")
    path = folder / "toy.yaml"
    path.write_text(toy_config.TEXT.format(run=folder / "run"))
    assert main(["train", str(path), "train.epochs=2"]) == 0
    return folder


@pytest.fixture
def unread(monkeypatch):
    """Puts a pipe that nobody reads in the place of standard output or errors."""
    opened = []

    def close(*names, full=False):
        for name in names:
            reader, writer = os.pipe()
            os.close(reader)
            stream = open("/dev/full", "w") if full else os.fdopen(writer, "w", buffering=1)
            opened.append(stream)
            monkeypatch.setattr(sys, name, stream)
        return stream

    yield close
    monkeypatch.undo()
    for stream in opened:
        stream.close()


COMMANDS = {
    "train": ["train", "{folder}/toy.yaml", "train.epochs=2"],
    "train anew": ["train", "{folder}/toy.yaml", "train.epochs=2", "run={folder}/other"],
    "evaluate": ["evaluate", "{folder}/run"],
    "report": ["report", "{folder}/run"],
    "benchmark": ["benchmark"],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_the_work_is_done_though_nobody_reads(trained, unread, capsys, name):
    report = trained / ("other" if "anew" in name else "run") / "report.md"
    if name in ("train anew", "report"):
        report.unlink(missing_ok=True)
    unread("stdout")
    assert main([part.format(folder=trained) for part in COMMANDS[name]]) == 0
    error = capsys.readouterr().err
    assert error == "warning: nobody reads the output any more; the work goes on without it\n"
    assert name == "benchmark" or report.is_file()


def test_help_that_nobody_reads_ends_well(unread, capsys):
    stream = unread("stdout")
    with pytest.raises(BrokenPipeError):
        print("what happens to those who print", file=stream, flush=True)
    with pytest.raises(SystemExit) as caught:
        main(["train", "--help"])
    assert caught.value.code == 0
    assert "nobody reads" in capsys.readouterr().err


def test_mistakes_keep_their_code_though_nobody_reads_them(unread):
    unread("stdout", "stderr")
    assert main(["evaluate", "nowhere"]) == 2
    assert main(["benchmark"]) == 0


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
def test_output_that_cannot_be_written_is_a_failure(unread, capsys):
    unread("stdout", full=True)
    assert main(["benchmark"]) == 1
    error = capsys.readouterr().err
    assert "error: the output cannot be written (No space left on device)" in error
    assert error.count("\n") == 1


def test_a_process_without_standard_output_works(trained, monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    assert main(["benchmark"]) == 0
    assert main(["evaluate", str(trained / "run")]) == 0


def test_a_want_of_memory_is_one_line(trained, monkeypatch, capsys):
    def much(*arguments):
        raise MemoryError("Unable to allocate 17 TiB")

    monkeypatch.setattr("experiments.results.evaluate.evaluate", much)
    assert main(["evaluate", str(trained / "run")]) == 1
    assert (
        capsys.readouterr().err == "error: there is not enough memory: Unable to allocate 17 TiB\n"
    )
