"""What to install where a package is missing."""

import re
from importlib.metadata import requires

_OWN = ("experiments", "symjax_frames", "tests")


def missing_package(error: ModuleNotFoundError) -> str:
    """One line that names the package and the extra that has it.

    Raises:
      ModuleNotFoundError: again, if a module of the project itself is what was not found.
    """
    package = (error.name or "").partition(".")[0]
    if not package or package in _OWN:
        raise error
    # Its own extra, if it has one. The application's has the rest, the networks' too.
    extra = "experiments"
    for requirement in requires("symjax_frames") or ():
        found = re.match(rf"{package}\b(?!-).*extra == [\"'](\w+)[\"']", requirement)
        extra = found[1] if found and found[1] != "nn" else extra
    return f"the package {package} must be installed: pip install -e '.[{extra}]'"
