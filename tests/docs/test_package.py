import re
import tomllib
import zipfile

import pytest
import yaml

from tests.check_wheel import check_content
from tests.docs.pages import PROJECT

METADATA = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CITATION = yaml.safe_load((PROJECT / "CITATION.cff").read_text(encoding="utf-8"))
WORKFLOW = yaml.safe_load((PROJECT / ".github/workflows/test.yml").read_text(encoding="utf-8"))
RELEASE = re.compile(r"^## \[(\d+\.\d+\.\d+)\] - (\d{4}-\d{2}-\d{2})$", flags=re.M)


def lower_bound(package):
    (bound,) = (
        re.search(r">=([\d.]+)", requirement)[1]
        for requirement in METADATA["dependencies"]
        if re.match(rf"{package}\b", requirement)
    )
    return bound


def test_version_is_the_same_everywhere():
    changelog = (PROJECT / "CHANGELOG.md").read_text(encoding="utf-8")
    version, date = RELEASE.search(changelog).groups()
    assert METADATA["version"] == CITATION["version"] == version
    assert CITATION["date-released"] == date
    assert "## [Unreleased]" in changelog
    assert [author["name"] for author in METADATA["authors"]] == [
        author["name"] for author in CITATION["authors"]
    ]


def test_every_python_that_is_promised_is_tested():
    promised = [
        classifier.rpartition(" ")[2]
        for classifier in METADATA["classifiers"]
        if re.search(r"Python :: 3\.\d+$", classifier)
    ]
    matrix = WORKFLOW["jobs"]["tests"]["strategy"]["matrix"]
    assert matrix["python-version"] == promised
    assert METADATA["requires-python"] == f">={promised[0]}"


def test_the_oldest_jax_that_is_promised_is_tested():
    (oldest,) = WORKFLOW["jobs"]["tests"]["strategy"]["matrix"]["include"]
    assert oldest["jax"] == f"{lower_bound('jax')}.0"
    assert lower_bound("jax") == lower_bound("jaxlib")


def test_types_are_published():
    assert "Typing :: Typed" in METADATA["classifiers"]
    assert (PROJECT / "symjax_frames/py.typed").is_file()


def test_pictures_of_pages_are_small():
    for picture in (PROJECT / ".github").glob("*.png"):
        assert picture.stat().st_size < 200_000


WHOLE = (
    *("symjax_frames/__init__.py", "symjax_frames/py.typed", "symjax_frames/nn/__init__.py"),
    *("symjax_frames/groups/lebedev.json", "symjax_frames-0.1.0.dist-info/licenses/LICENSE"),
)


def make_wheel(path, names):
    with zipfile.ZipFile(path, "w") as wheel:
        for name in names:
            wheel.writestr(name, "")
    return path


def test_a_whole_wheel_passes(tmp_path):
    check_content(make_wheel(tmp_path / "whole.whl", WHOLE))


@pytest.mark.parametrize("missing", WHOLE)
def test_a_wheel_without_a_file_is_refused(tmp_path, missing):
    names = [name for name in WHOLE if name != missing]
    with pytest.raises(AssertionError):
        check_content(make_wheel(tmp_path / "partial.whl", names))


@pytest.mark.parametrize("foreign", ["tests/conftest.py", "experiments/__init__.py"])
def test_a_wheel_with_another_package_is_refused(tmp_path, foreign):
    with pytest.raises(AssertionError, match=foreign.split("/")[0]):
        check_content(make_wheel(tmp_path / "foreign.whl", (*WHOLE, foreign)))
