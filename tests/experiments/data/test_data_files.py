import multiprocessing
import os
import signal
import zipfile
from pathlib import Path

import numpy as np
import pytest

from experiments.data.cache import announced, cache_path, cached
from experiments.data.npz import DataError, read_npz, write_npz
from experiments.files import digest_arrays


def arrays():
    return {"x": np.arange(30.0).reshape(5, 6), "y": np.ones(3, np.float32)}


def damaged(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_arrays_come_back_as_they_were_written(tmp_path):
    path = tmp_path / "new" / "folder" / "file.npz"

    write_npz(path, arrays())
    read = read_npz(path)

    assert digest_arrays(read) == digest_arrays(arrays())
    assert [entry.name for entry in path.parent.iterdir()] == ["file.npz"]


def test_a_checksum_sees_names_types_shapes_and_values():
    x = np.arange(4.0)
    variants = [{"x": x}, {"y": x}, {"x": x.reshape(2, 2)}, {"x": x.view(np.int64)}, {"x": -x}]

    assert len({digest_arrays(variant) for variant in variants}) == len(variants)
    assert digest_arrays({"x": np.asfortranarray(np.ones((2, 3)))}) == digest_arrays(
        {"x": np.ones((2, 3))}
    )


def test_files_that_are_no_archives_of_arrays_are_named(tmp_path):
    np.save(tmp_path / "plain.npy", np.ones(3))
    np.savez(tmp_path / "pickled.npz", x=np.array([{}], dtype=object))
    with zipfile.ZipFile(tmp_path / "text.npz", "w") as archive:
        archive.writestr("readme.txt", "not an array")
    write_npz(tmp_path / "whole.npz", arrays())
    whole = (tmp_path / "whole.npz").read_bytes()
    flipped = bytearray(whole)
    flipped[whole.index(np.float64(7.0).tobytes())] ^= 1
    cases = {
        tmp_path / "absent.npz": "no such file",
        tmp_path: "a folder",
        damaged(tmp_path / "text.csv", b"1,2,3"): "must be an .npz archive",
        tmp_path / "plain.npy": "must be an .npz archive",
        damaged(tmp_path / "empty.npz", b""): "must be an .npz archive",
        damaged(tmp_path / "cut.npz", whole[: len(whole) // 2]): "must be an .npz archive",
        damaged(tmp_path / "flipped.npz", bytes(flipped)): "must be an intact .npz",
        tmp_path / "pickled.npz": "array 'x' must hold numbers",
        tmp_path / "text.npz": "'readme.txt' must be an array",
    }
    for path, defect in cases.items():
        with pytest.raises(DataError) as error:
            read_npz(path)
        message = str(error.value)
        assert message.startswith(f"{path}: ") and defect in message


def test_data_are_generated_once_for_each_set_of_parameters(tmp_path):
    calls = []

    def generate(value):
        calls.append(value)
        return {"x": np.full(3, value)}

    for value in (1.0, 2.0, 1.0, 2.0):
        read = cached(tmp_path, "kind", {"value": value}, lambda value=value: generate(value))
        np.testing.assert_array_equal(read["x"], np.full(3, value))
        assert set(read) == {"x"}

    assert calls == [1.0, 2.0]
    assert len(list(tmp_path.iterdir())) == 2
    assert cache_path(tmp_path, "kind", {"a": 1, "b": 2}) == cache_path(
        tmp_path, "kind", {"b": 2, "a": 1}
    )


def test_a_damaged_cache_file_is_reported_and_made_again(tmp_path, capsys):
    path = cache_path(tmp_path, "kind", {"value": 1})
    cached(tmp_path, "kind", {"value": 1}, arrays)
    good = path.read_bytes()
    # The archive's own checks are right here; only the values are not those of the checksum.
    stamped = read_npz(path)
    write_npz(path, stamped | {"x": stamped["x"] + 1})
    altered = path.read_bytes()
    cached(tmp_path, "kind", {"value": 2}, arrays)
    other = cache_path(tmp_path, "kind", {"value": 2}).read_bytes()
    cases = {
        b"": "must be an .npz",
        good[:-40]: "must be an .npz",
        altered: "do not match their checksum",
        other: "made with other parameters",
    }

    for content, defect in cases.items():
        path.write_bytes(content)
        capsys.readouterr()
        assert digest_arrays(cached(tmp_path, "kind", {"value": 1}, arrays)) == digest_arrays(
            arrays()
        )
        report = capsys.readouterr().err
        assert str(path) in report and defect in report and "generating it again" in report
        assert path.read_bytes() == good


def test_every_flipped_byte_is_harmless_or_found(tmp_path):
    path = cache_path(tmp_path, "kind", {})
    cached(tmp_path, "kind", {}, arrays)
    good = path.read_bytes()

    for place in range(0, len(good), 5):
        content = bytearray(good)
        content[place] ^= 0x20
        path.write_bytes(bytes(content))
        assert digest_arrays(cached(tmp_path, "kind", {}, arrays)) == digest_arrays(arrays())


def write_and_die(path: Path):
    os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)
    write_npz(path, {"x": np.zeros(3)})


@pytest.mark.parametrize("before", [False, True])
def test_a_killed_write_leaves_what_was_there(tmp_path, before):
    path = tmp_path / "file.npz"
    if before:
        write_npz(path, arrays())

    process = multiprocessing.get_context("spawn").Process(target=write_and_die, args=(path,))
    process.start()
    process.join()

    assert process.exitcode == -signal.SIGKILL
    assert path.exists() == before
    assert not before or digest_arrays(read_npz(path)) == digest_arrays(arrays())


def test_an_interrupted_write_leaves_nothing(tmp_path, monkeypatch):
    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_npz(tmp_path / "file.npz", arrays())

    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(DataError, match="file/kind-.* must be in a folder"):
        cached(tmp_path / "file", "kind", {}, arrays)


def test_progress_off_a_terminal_is_a_few_plain_lines(capsys):
    assert list(announced(range(100), "Work")) == list(range(100))

    lines = capsys.readouterr().err.splitlines()
    assert lines == ["Work: 25 %", "Work: 50 %", "Work: 75 %", "Work: 100 %"]
