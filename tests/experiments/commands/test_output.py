"""Commands whose reader goes away, and what they do then."""

import contextlib
import os
import sys

import pytest

from experiments.commands.main import main
from tests.helpers.toy_task import config as toy_config


@contextlib.contextmanager
def unread(*names, full=False):
    """Puts a pipe that nobody reads, or a full disk, in the place of standard output or errors."""
    with contextlib.ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        for name in names:
            reader, writer = os.pipe()
            os.close(reader)
            if full:
                os.close(writer)
            stream = stack.enter_context(open("/dev/full" if full else writer, "w"))
            patch.setattr(sys, name, stream)
        yield stream


@pytest.fixture(scope="module")
def trained(tmp_path_factory, with_toy):
    """A run that nobody saw how it went."""
    folder = tmp_path_factory.mktemp("output")
    path = folder / "toy.yaml"
    path.write_text(toy_config.TEXT.format(run=folder / "run"))
    with unread("stdout"):
        assert main(["train", str(path), *SHORT]) == 0
    return folder


SHORT = ("train.epochs=2", "train.seeds=[3]")
COMMANDS = {
    "train": ["train", "{folder}/toy.yaml", *SHORT],
    "evaluate": ["evaluate", "{folder}/run"],
    "report": ["report", "{folder}/run"],
    "benchmark": ["benchmark"],
}


def test_a_run_is_trained_to_its_end_though_nobody_reads(trained):
    assert (trained / "run" / "report.md").is_file()
    assert (trained / "run" / "evaluation.json").is_file()


@pytest.mark.parametrize("name", COMMANDS)
def test_the_work_is_done_though_nobody_reads(trained, capsys, name):
    report = trained / "run" / "report.md"
    if name == "report":
        report.unlink()
    with unread("stdout"):
        assert main([part.format(folder=trained) for part in COMMANDS[name]]) == 0
    error = capsys.readouterr().err
    assert error == "warning: nobody reads the output any more; the work goes on without it\n"
    assert report.is_file()


def test_help_that_nobody_reads_ends_well(capsys):
    with unread("stdout") as stream:
        with pytest.raises(BrokenPipeError):
            os.write(stream.fileno(), b"what happens to those who just print")
        with pytest.raises(SystemExit) as caught:
            main(["train", "--help"])
    assert caught.value.code == 0
    assert "nobody reads" in capsys.readouterr().err


def test_mistakes_keep_their_code_though_nobody_reads_them():
    with unread("stdout", "stderr"):
        assert main(["evaluate", "nowhere"]) == 2
        assert main(["benchmark"]) == 0


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
def test_output_that_cannot_be_written_is_a_failure(capsys):
    with unread("stdout", full=True):
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
