import pytest

from experiments.config import Config
from experiments.config.load import load_config
from experiments.errors import UsageError

BASE = "task: nbody\ntrain:\n  epochs: 3\n"
DIGITS = "task: digits\ntrain:\n  epochs: 3\n"
MOLECULES = "task: molecules\ndata: {}\ntrain:\n  epochs: 3\n"


@pytest.fixture
def load(tmp_path):
    """Loads a text as a file, with overrides."""

    def load(text: str | bytes, *overrides: str) -> Config:
        path = tmp_path / "case.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return load_config(path, overrides)

    return load


@pytest.fixture
def mistakes(load):
    """The lines of the message about a text that is wrong."""

    def mistakes(text: str | bytes, *overrides: str) -> list[str]:
        with pytest.raises(UsageError) as caught:
            load(text, *overrides)
        return str(caught.value).splitlines()

    return mistakes
