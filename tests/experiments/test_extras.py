import subprocess
import sys
import tomllib

import pytest

from experiments.extras import missing_package
from tests.helpers.paths import ROOT


@pytest.mark.parametrize(
    ("module", "extra"),
    [("optax", "experiments"), ("orbax.checkpoint", "experiments"), ("tblite", "molecules")],
)
def test_a_missing_package_is_named_with_its_extra(module, extra):
    message = missing_package(ModuleNotFoundError("no module", name=module))
    assert module.partition(".")[0] in message and f"'.[{extra}]'" in message
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    package = "orbax-checkpoint" if module.startswith("orbax") else module
    assert any(line.startswith(package) for line in extras["optional-dependencies"][extra])


def test_a_missing_module_of_the_project_is_an_error_of_its_own():
    with pytest.raises(ModuleNotFoundError, match="no module"):
        missing_package(ModuleNotFoundError("no module", name="experiments.no_such"))


def test_the_command_line_says_what_to_install():
    code = (
        "import runpy, sys\nsys.modules['pydantic'] = None\n"
        "sys.argv = ['experiments', 'train', 'x.yaml']\n"
        "runpy.run_module('experiments', run_name='__main__', alter_sys=True)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=120
    )
    assert done.returncode == 2
    assert "error: the package pydantic must be installed" in done.stderr
    assert "Traceback" not in done.stderr
