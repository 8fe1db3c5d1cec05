import pytest

from experiments.errors import UsageError
from experiments.tasks.molecules.export_file import (
    FORMAT,
    packed,
    read_file,
    refuse_existing,
    unpacked,
    write_file,
)

HEAD = {"units": {"energy": "eV"}, "references": [-1 / 3]}
PARTS = {"weights": b"\n\x00sixteen bytes\n\n", "float32": b"", "float64": b"a program"}


def test_a_file_holds_what_was_packed_and_its_head_can_be_read_by_people():
    content = packed(HEAD, PARTS)
    head, parts = unpacked("a", content)
    assert parts == PARTS and {name: head[name] for name in HEAD} == HEAD
    lines = content.splitlines()
    assert lines[0] == f"symjax_frames exported potential, format {FORMAT}".encode()
    assert b'"energy": "eV"' in lines[2]


def test_a_file_is_refused_wherever_a_byte_of_it_is_another_one_or_it_ends():
    content = packed(HEAD, PARTS)
    for place in range(len(content)):
        altered = bytearray(content)
        altered[place] ^= 1
        for wrong in (bytes(altered), content[:place]):
            with pytest.raises(UsageError, match="^here/a: must "):
                unpacked("here/a", wrong)
    with pytest.raises(UsageError, match="cut off or altered"):
        unpacked("here/a", content + b"\n")


def test_another_version_of_the_format_and_another_file_are_said_to_be_that():
    content = packed(HEAD, PARTS)
    later = content.replace(f"format {FORMAT}".encode(), b"format 999", 1)
    with pytest.raises(UsageError, match=f"^a: must be of format {FORMAT}, got '999'"):
        unpacked("a", later)
    for other in (b"", b"PK\x03\x04", content[1:]):
        with pytest.raises(UsageError, match="^a: must be a potential that the command export"):
            unpacked("a", other)


def test_a_file_is_written_whole_and_over_none_but_if_asked(tmp_path):
    path = tmp_path / "new" / "a"
    write_file(path, b"first")
    assert read_file(path) == b"first" and [*path.parent.iterdir()] == [path]
    refuse_existing(path, overwrite=True)
    with pytest.raises(UsageError, match="a: exists already"):
        refuse_existing(path, overwrite=False)
    for overwrite in (True, False):
        with pytest.raises(UsageError, match="got a folder"):
            refuse_existing(tmp_path, overwrite)
    with pytest.raises(UsageError, match="a/b: cannot be written"):
        write_file(path / "b", b"second")
    with pytest.raises(UsageError, match="nothing: cannot be read: No such file"):
        read_file(tmp_path / "nothing")
