import sys

import pytest

from tests.docs.reference import public_modules, public_names, undocumented


@pytest.mark.parametrize("module", public_modules())
def test_public_names_have_docstrings(module):
    assert not list(undocumented(module))


def test_every_package_is_in_the_reference():
    packages = ("actions", "frames", "groups", "linalg", "correlation", "nn", "testing")
    assert {f"symjax_frames.{name}" for name in packages} < set(public_modules())
    assert "audit" in public_names("symjax_frames.testing")
    # Defined two packages below, and re-exported twice.
    assert public_names("symjax_frames")["points"] == "symjax_frames.actions._euclidean"


PLANTED = '''
"""A module."""
from planted_home import documented as documented, bare as bare, hidden
from planted_home import Table as Table

LIMIT = 3
'''

HOME = '''
"""Where they are defined."""
documented = 1
"""Says what it is."""
bare = 2
hidden = 3


class Table:
    """A class."""

    def rows(self): ...

    def _columns(self): ...
'''


def test_a_name_without_docstring_is_found(tmp_path, monkeypatch):
    (tmp_path / "planted.py").write_text(PLANTED)
    (tmp_path / "planted_home.py").write_text(HOME)
    monkeypatch.syspath_prepend(tmp_path)
    found = list(undocumented("planted"))
    for module in ("planted", "planted_home"):
        sys.modules.pop(module, None)
    assert found == ["planted.bare", "planted.Table.rows", "planted.LIMIT"]
