"""Builds the wheel and uses it as a stranger would: `python tests/check_wheel.py [FOLDER]`.

In a virtual environment of its own the wheel is installed first alone, where it must work without
Flax, then with its extra `nn`. It needs a package registry, so it is no part of `make test`. The
wheel is left in the folder, if one is named.
"""

import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]

ALONE = """
import importlib.util
import jax, jax.numpy as jnp
import symjax_frames as sf
import symjax_frames.actions, symjax_frames.correlation, symjax_frames.frames, symjax_frames.groups
import symjax_frames.linalg, symjax_frames.testing

for absent in ("flax", "optax", "experiments", "tests"):
    assert importlib.util.find_spec(absent) is None, f"{absent} must not be installed with the wheel"
points = jax.random.normal(jax.random.key(0), (5, 3))
energy = lambda x: jnp.sum(jnp.tanh(1 + x @ jnp.array([1.0, 2.0, 0.5])))
average = sf.frame_average(energy, sf.pca_frame, in_actions=sf.points, out_actions=None)
assert jnp.allclose(average(points), average(points[:, ::-1] + 1), rtol=1e-5)
assert not jnp.allclose(energy(points), energy(points[:, ::-1] + 1), rtol=1e-5)
# A rule of degree 6 is read from the table of Lebedev's rules, a file of the package.
rule = sf.quadrature(sf.special_orthogonal(3), 6)
try:
    import symjax_frames.nn
except ModuleNotFoundError as error:
    assert "pip install 'symjax_frames[nn]'" in str(error)
print(f"symjax_frames {sf.__version__} with JAX {jax.__version__} alone")
"""

WITH_FLAX = """
from flax import nnx
import jax.numpy as jnp
from symjax_frames import nn

model = nn.MLP([3, 4, 1], rngs=nnx.Rngs(0))
assert model(jnp.ones((5, 3))).shape == (5, 1)
print("symjax_frames.nn with Flax")
"""


def main(folder: str | None = None) -> None:
    """Builds the wheel, looks into it, and runs it in a new environment."""
    with tempfile.TemporaryDirectory() as scratch:
        wheel = build(Path(folder or scratch).resolve())
        check_content(wheel)
        python = make_environment(Path(scratch) / "environment")
        install(python, str(wheel))
        run(python, "-I", "-c", ALONE, cwd=scratch)
        install(python, f"{wheel}[nn]")
        run(python, "-I", "-c", WITH_FLAX, cwd=scratch)


def build(folder: Path) -> Path:
    """The wheel of the project, built into a folder."""
    pip = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps")
    run(*pip, "--wheel-dir", str(folder), str(PROJECT))
    return max(folder.glob("symjax_frames-*.whl"), key=lambda wheel: wheel.stat().st_mtime)


def check_content(wheel: Path) -> None:
    """Asserts that the wheel holds the package, whole and by itself."""
    names = set(zipfile.ZipFile(wheel).namelist())
    for required in ("py.typed", "groups/lebedev.json", "__init__.py", "nn/__init__.py"):
        assert f"symjax_frames/{required}" in names, f"{wheel.name} must hold {required}"
    assert any(name.endswith("licenses/LICENSE") for name in names), f"{wheel.name} has no licence"
    foreign = {name.split("/")[0] for name in names if not name.startswith("symjax_frames")}
    assert not foreign, f"{wheel.name} must hold symjax_frames only, got {sorted(foreign)}"


def make_environment(folder: Path) -> str:
    """A new virtual environment; its Python."""
    venv.create(folder, with_pip=True)
    return str(folder / "bin" / "python")


def install(python: str, requirement: str) -> None:
    """Installs a requirement with all that it needs."""
    run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", requirement)


def run(*command: str, cwd: str | None = None) -> None:
    """Runs a command, and ends with its error if it fails."""
    subprocess.run(command, check=True, cwd=cwd)


if __name__ == "__main__":
    main(*sys.argv[1:])
