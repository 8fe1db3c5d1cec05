"""The imports of a tree of modules, read from their source."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple


class Import(NamedTuple):
    """A module that imports another, and the name it takes from it (`None` for the module itself)."""

    importer: str
    imported: str
    name: str | None
    typing_only: bool


def modules(root: Path, package: str) -> dict[str, Path]:
    """The modules of a package by their dotted names."""
    found = {}
    for path in sorted((root / package).rglob("*.py")):
        dotted = ".".join(path.relative_to(root).with_suffix("").parts)
        found[dotted.removesuffix(".__init__")] = path
    return found


def imports(files: dict[str, Path]) -> list[Import]:
    """Every import of one of the modules by another, also those within functions."""
    result = []
    for importer, path in files.items():
        for node, typing_only in _import_nodes(ast.parse(path.read_text("utf-8")), False):
            if isinstance(node, ast.Import):
                targets = [(alias.name, None) for alias in node.names]
            else:
                assert node.level == 0, f"{importer}: relative import"
                targets = [
                    (f"{node.module}.{alias.name}", None)
                    if f"{node.module}.{alias.name}" in files
                    else (str(node.module), alias.name)
                    for alias in node.names
                ]
            result += [
                Import(importer, module, name, typing_only)
                for module, name in targets
                if module in files
            ]
    return result


def _import_nodes(node: ast.AST, typing_only: bool) -> Iterator[tuple[ast.AST, bool]]:
    if isinstance(node, ast.Import | ast.ImportFrom):
        yield node, typing_only
    guarded = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
    for child in ast.iter_child_nodes(node):
        yield from _import_nodes(child, typing_only or guarded)


def cycles(edges: list[Import]) -> list[list[str]]:
    """The groups of modules that import each other in a circle, imports for types alone aside."""
    graph: dict[str, set[str]] = {}
    for edge in edges:
        if not edge.typing_only and edge.importer != edge.imported:
            graph.setdefault(edge.importer, set()).add(edge.imported)

    def reached(start: str) -> set[str]:
        seen: set[str] = set()
        waiting = list(graph.get(start, ()))
        while waiting:
            module = waiting.pop()
            if module not in seen:
                seen.add(module)
                waiting += graph.get(module, ())
        return seen

    closure = {module: reached(module) for module in graph}
    circular = [module for module in graph if module in closure[module]]
    groups = {
        tuple(sorted(other for other in circular if other in closure[m] and m in closure[other]))
        for m in circular
    }
    return [list(group) for group in sorted(groups)]


def private_imports(edges: list[Import]) -> list[Import]:
    """Imports of a private name of another module, or of a private module of another library."""
    wrong = []
    for edge in edges:
        if edge.name is not None and edge.name.startswith("_") and not edge.name.startswith("__"):
            wrong.append(edge)
        elif "._" in edge.imported:
            if edge.importer.partition(".")[0] != edge.imported.partition(".")[0]:
                wrong.append(edge)
    return wrong
