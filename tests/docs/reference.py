"""The HTML reference of the public names: `python -m tests.docs.reference FOLDER`.

pdoc writes it. The packages of the library name what is public with `from x import name as name`,
which pdoc does not follow: this module tells it the names, and where the docstrings of those that
are no functions and no classes stand.
"""

import ast
import importlib
import pkgutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pdoc

LIBRARY = "symjax_frames"


def public_modules() -> list[str]:
    """The library and its modules that a user imports."""
    library = importlib.import_module(LIBRARY)
    modules = [module.name for module in pkgutil.walk_packages(library.__path__, f"{LIBRARY}.")]
    return [LIBRARY, *(name for name in modules if "._" not in name)]


def public_names(module: str) -> dict[str, str]:
    """The public names of a module but for modules, each with the module that defines it."""
    names = {}
    for node in ast.parse(_source(module)).body:
        match node:
            case ast.ImportFrom(module=str(origin), names=aliases):
                for name in (alias.name for alias in aliases if alias.asname == alias.name):
                    if not isinstance(getattr(importlib.import_module(origin), name), ModuleType):
                        names[name] = public_names(origin).get(name, origin)
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                names[name] = module
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                names[name] = module
    return {name: origin for name, origin in names.items() if not name.startswith("_")}


def _source(module: str) -> str:
    specification = importlib.util.find_spec(module)
    return Path(specification.origin).read_text(encoding="utf-8")


def documentation(module: str, name: str) -> pdoc.doc.Doc:
    """What pdoc knows of a public name, from the module that defines it."""
    return pdoc.doc.Module.from_name(module).members[name]


def undocumented(module: str) -> Iterator[str]:
    """The public names of a module, and public methods of its classes, without a docstring."""
    if not pdoc.doc.Module.from_name(module).docstring:
        yield module
    for name, origin in public_names(module).items():
        page = documentation(origin, name)
        if not page.docstring:
            yield f"{module}.{name}"
        if isinstance(page, pdoc.doc.Class):
            for method in page.own_members:
                # Fields are described in the docstring of the class.
                public = not method.name.startswith("_") and method.kind == "function"
                if public and not method.docstring:
                    yield f"{module}.{name}.{method.name}"


def write(folder: Path) -> None:
    """Writes the reference of the whole library into a folder."""
    for module in public_modules():
        names = public_names(module)
        # What pdoc takes to be public, with the modules beneath, for which it makes pages.
        beneath = [name for name in public_modules() if name.rpartition(".")[0] == module]
        everything = [*names, *(name.rpartition(".")[2] for name in beneath)]
        importlib.import_module(module).__all__ = everything
        members = pdoc.doc.Module.from_name(module).members
        for name, origin in names.items():
            members[name].docstring = documentation(origin, name).docstring
    pdoc.render.configure(docformat="google", math=True, footer_text=LIBRARY)
    pdoc.pdoc(LIBRARY, output_directory=folder)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
