"""The examples of the docstrings and of the guides, in JAX as a user has it."""

import doctest
import importlib
from contextlib import ExitStack

import jax
import pytest

from tests.helpers.imports import modules
from tests.helpers.paths import ROOT

MODULES = {
    name: path
    for package in ("symjax_frames", "experiments")
    for name, path in modules(ROOT, package).items()
    if ">>> " in path.read_text("utf-8")
}
GUIDES = sorted(
    path.relative_to(ROOT)
    for folder in (ROOT, ROOT / "symjax_frames", ROOT / "experiments")
    for path in folder.glob("*.md")
    if ">>> " in path.read_text("utf-8")
)


@pytest.fixture(autouse=True)
def as_a_user_has_it():
    """Single precision and the usual promotion, which the other tests do not have."""
    with ExitStack() as settings:
        settings.enter_context(jax.enable_x64(False))
        settings.enter_context(jax.numpy_dtype_promotion("standard"))
        settings.enter_context(jax.numpy_rank_promotion("allow"))
        yield


@pytest.mark.parametrize("name", MODULES)
def test_examples_of_docstrings_are_true(name):
    failed, tried = doctest.testmod(importlib.import_module(name))
    assert tried > 0 and failed == 0


@pytest.mark.parametrize("path", GUIDES, ids=str)
def test_examples_of_guides_are_true(path):
    failed, tried = doctest.testfile(str(ROOT / path), module_relative=False, encoding="utf-8")
    assert tried > 0 and failed == 0


def test_an_example_that_is_not_true_fails(tmp_path):
    path = tmp_path / "README.md"
    path.write_text(">>> 1 + 1\n3\n")
    assert doctest.testfile(str(path), module_relative=False, report=False).failed == 1
