"""What may import what: no circle, nothing private from elsewhere, no arrow from below to above."""

import re
from pathlib import Path

import pytest

from experiments.tasks.registry import TASKS
from tests.helpers.imports import Import, cycles, imports, modules, private_imports
from tests.helpers.paths import ROOT

PACKAGES = ("symjax_frames", "experiments")


def files():
    return {name: path for package in PACKAGES for name, path in modules(ROOT, package).items()}


def planted(folder: Path, sources: dict[str, str]):
    """The imports of a package that is written for a test."""
    for name, text in sources.items():
        path = folder / "planted" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return imports(modules(folder, "planted"))


@pytest.mark.parametrize("package", PACKAGES)
def test_no_modules_import_each_other_in_a_circle(package):
    edges = imports(modules(ROOT, package))
    assert len(edges) > 100
    assert cycles(edges) == []


def test_a_circle_is_found_wherever_the_import_stands(tmp_path):
    edges = planted(
        tmp_path,
        {
            "a": "from planted import b\n",
            "b": "def late():\n    from planted.c import x\n",
            "c": "import planted.a\nx = 1\n",
            "d": "from planted.a import late\n",
        },
    )
    assert cycles(edges) == [["planted.a", "planted.b", "planted.c"]]


def test_an_import_for_types_alone_makes_no_circle(tmp_path):
    guarded = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from planted.b import x\n"
    assert cycles(planted(tmp_path, {"a": guarded, "b": "import planted.a\nx = 1\n"})) == []


def test_nothing_private_is_imported_from_elsewhere():
    assert private_imports(imports(files())) == []


def test_private_imports_are_found(tmp_path):
    edges = planted(
        tmp_path,
        {
            "a": "from planted.b import _x\nfrom planted.rooms._wall import brick\n",
            "b": "_x = 1\n",
            "rooms/_wall": "brick = 1\n",
        },
    )
    (edge,) = private_imports(edges)
    assert (edge.importer, edge.imported, edge.name) == ("planted.a", "planted.b", "_x")
    (edge,) = private_imports([Import("other.a", "planted.rooms._wall", "brick", False)])
    assert edge.imported == "planted.rooms._wall"


def test_the_library_does_not_import_the_application():
    edges = imports(files())
    assert not [e for e in edges if e.importer.startswith("symjax") and "experiments" in e.imported]
    assert [e for e in edges if e.importer.startswith("experiments") and "symjax" in e.imported]


def names_of_tasks(text: str) -> list[str]:
    """Words in a source that only one task can mean."""
    words = (*TASKS, "molecul", "n-body", "digit", "bodies", "error against angle", "dipole")
    return [word for word in words if re.search(rf"\b{word}", text, re.IGNORECASE)]


def test_no_module_outside_the_folder_of_a_task_names_it():
    """Benchmarks stand above the tasks: they measure trained models of one of them."""
    below = ("experiments.tasks.", "experiments.benchmarks.")
    named = {
        module: words
        for module, path in modules(ROOT, "experiments").items()
        if not module.startswith(below) and (words := names_of_tasks(path.read_text("utf-8")))
    }
    assert named == {}
    for task in TASKS:
        others = [f"experiments.tasks.{other}" for other in TASKS if other != task]
        edges = imports(modules(ROOT, "experiments"))
        own = f"experiments.tasks.{task}."
        assert not [
            e for e in edges if e.imported.startswith(own) and e.importer.startswith((*others,))
        ]


def test_a_module_that_names_a_task_is_found():
    assert names_of_tasks("only molecules and nbody can be audited") == [
        "nbody",
        "molecules",
        "molecul",
    ]
    assert names_of_tasks("a task whose models are functions of point clouds") == []
