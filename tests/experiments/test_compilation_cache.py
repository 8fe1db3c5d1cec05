"""Where compiled programs are kept between starts of the command line."""

import os
from pathlib import Path

import jax
import pytest

from experiments import compilation_cache
from experiments.commands.main import main
from experiments.compilation_cache import FOLDER, SHORTEST, default_folder, use_compilation_cache

_OPTIONS = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")


@pytest.fixture(autouse=True)
def restored(monkeypatch):
    """Leaves the folder of the tests as it was."""
    for name in (FOLDER, SHORTEST):
        monkeypatch.setenv(name, os.environ[name])
    before = {name: getattr(jax.config, name) for name in _OPTIONS}
    yield
    for name, value in before.items():
        jax.config.update(name, value)


def test_the_environment_is_respected(monkeypatch, tmp_path):
    monkeypatch.setenv(FOLDER, str(tmp_path / "mine"))
    assert use_compilation_cache() == tmp_path / "mine"
    assert getattr(jax.config, _OPTIONS[0]) == str(tmp_path / "mine")
    monkeypatch.setenv(FOLDER, "")
    assert use_compilation_cache() is None
    assert getattr(jax.config, _OPTIONS[0]) is None


def test_by_default_it_is_a_folder_of_the_user_and_of_the_processor(monkeypatch, tmp_path):
    monkeypatch.delenv(FOLDER)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = use_compilation_cache()
    assert folder == default_folder() and folder.parent == tmp_path / "symjax_frames" / "xla"
    assert folder.is_dir() and os.environ[FOLDER] == str(folder)
    monkeypatch.setattr(compilation_cache.platform, "processor", lambda: "another")
    assert default_folder() != folder
    monkeypatch.setenv("XDG_CACHE_HOME", "not/absolute")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert default_folder().is_relative_to(tmp_path / "home" / ".cache")


def test_a_storage_elsewhere_is_left_to_jax_and_a_home_is_found(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(FOLDER, "gs://bucket/folder")
    assert use_compilation_cache() is None
    assert os.environ[FOLDER] == getattr(jax.config, _OPTIONS[0]) == "gs://bucket/folder"
    assert not any(tmp_path.iterdir())
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert use_compilation_cache("~/mine") == tmp_path / "home" / "mine"


def test_a_folder_that_cannot_be_written_gives_a_warning(tmp_path):
    (tmp_path / "file").touch()
    with pytest.warns(UserWarning, match="file/folder: compiled programs cannot be kept there"):
        assert use_compilation_cache(tmp_path / "file" / "folder") is None
    assert getattr(jax.config, _OPTIONS[0]) is None


@pytest.mark.filterwarnings("always")
def test_the_command_line_takes_the_folder(capsys, tmp_path):
    assert main([f"--compilation-cache={tmp_path / 'named'}", "benchmark"]) == 0
    assert Path(getattr(jax.config, _OPTIONS[0])) == tmp_path / "named"
    (tmp_path / "file").touch()
    assert main([f"--compilation-cache={tmp_path / 'file'}", "benchmark"]) == 0
    assert capsys.readouterr().err.count("warning: ") == 1


def test_a_configuration_names_the_folder_unless_the_command_line_does(tmp_path):
    config = tmp_path / "linear.yaml"
    config.write_text(
        "task: nbody\nmodel: {backbone: linear}\ntrain: {epochs: 1}\n"
        f"compilation_cache: {tmp_path / 'mine'}\n"
    )
    # It ends before anything is computed, on a file that is not there.
    command = ["train", str(config), f"run={tmp_path / 'run'}", f"data.path={tmp_path / 'none'}"]
    assert main(command) == 2
    assert getattr(jax.config, _OPTIONS[0]) == str(tmp_path / "mine")
    assert main([*command, "compilation_cache=''"]) == 2
    assert getattr(jax.config, _OPTIONS[0]) is None
    assert main([f"--compilation-cache={tmp_path / 'named'}", *command]) == 2
    assert getattr(jax.config, _OPTIONS[0]) == str(tmp_path / "named")
