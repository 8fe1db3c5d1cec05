"""What users import: the names at the top, a docstring for each, and no Flax before it is asked for."""

import ast
import importlib
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

import symjax_frames as sf

NAMESPACES = ("actions", "correlation", "frames", "groups", "linalg")

TOP_LEVEL = {
    *("Action", "Frame", "Group", "Isometry"),
    *("batch_average", "batch_capacity", "frame_average", "group_average", "sampled_average"),
    *("fields", "images", "packed", "points", "pseudovectors", "regular", "tensors", "vectors"),
    *("voxels",),
    *("canonical_frame", "close", "frame_capacity", "frame_diagnostics", "landmark_frame"),
    *("local_frames", "packed_pca_frame", "packed_robust_frame", "pca_frame", "robust_frame"),
    *("scored_frame", "spectral_gap"),
    *("cyclic", "dihedral", "euclidean", "icosahedral", "octahedral", "orthogonal"),
    *("permutations", "quadrature", "signed_permutations", "signs", "special_euclidean"),
    *("special_orthogonal", "tetrahedral", "translation"),
    *NAMESPACES,
}


def source_of(module: str) -> ast.Module:
    spec = importlib.util.find_spec(module)
    assert spec is not None and spec.origin is not None
    return ast.parse(Path(spec.origin).read_text(encoding="utf-8"))


def exports_of(module: str) -> dict[str, str]:
    """The public names of a package, each with the module that it is imported from."""
    return {
        alias.asname: statement.module
        for statement in source_of(module).body
        if isinstance(statement, ast.ImportFrom)
        for alias in statement.names
        if alias.asname and not alias.asname.startswith("_")
    }


def is_documented(definition: ast.FunctionDef | ast.ClassDef) -> bool:
    """Whether a function has a docstring, or a class and each of its public methods."""
    methods = [inner for inner in definition.body if isinstance(inner, ast.FunctionDef)]
    public = [] if isinstance(definition, ast.FunctionDef) else methods
    return all(ast.get_docstring(d) for d in (definition, *public) if not d.name.startswith("_"))


def documented_in(module: str) -> set[str]:
    """The names that a module defines with a docstring: functions, classes, and constants."""
    body = source_of(module).body
    names = {
        statement.name
        for statement in body
        if isinstance(statement, ast.FunctionDef | ast.ClassDef) and is_documented(statement)
    }
    for statement, following in zip(body, body[1:], strict=False):
        text = isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)
        if text and isinstance(statement, ast.Assign):
            names |= {target.id for target in statement.targets if isinstance(target, ast.Name)}
    return names


def test_top_level_names_are_those_written_down():
    assert set(exports_of("symjax_frames")) == TOP_LEVEL
    assert all(hasattr(sf, name) for name in TOP_LEVEL)


@pytest.mark.parametrize("namespace", [*NAMESPACES, "nn", "testing"])
def test_public_names_have_docstrings(namespace):
    package = f"symjax_frames.{namespace}"
    exports = exports_of(package)
    assert exports
    missing = {name for name, module in exports.items() if name not in documented_in(module)}
    assert not missing
    assert ast.get_docstring(source_of(package))


def test_importing_the_library_needs_jax_numpy_and_jaxtyping_alone():
    # None in sys.modules makes every import of the package fail.
    code = """
import sys
for package in ("flax", "optax", "chex", "orbax", "pydantic", "matplotlib", "ase"):
    sys.modules[package] = None
import symjax_frames as sf
assert sf.correlation.lift and sf.frames.transport and sf.groups.finite_group
assert "symjax_frames.nn" not in sys.modules and "symjax_frames.testing" not in sys.modules
import symjax_frames.testing
try:
    import symjax_frames.nn
except ModuleNotFoundError as error:
    assert "pip install 'symjax_frames[nn]'" in str(error) and error.name == "flax"
else:
    raise AssertionError("symjax_frames.nn must need flax")
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_audit_is_the_function_however_it_is_imported():
    internals = importlib.import_module("symjax_frames.testing._audit.laws")
    testing = importlib.import_module("symjax_frames.testing")
    assert callable(testing.audit) and internals.largest_jumps
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("symjax_frames.testing.audit")
