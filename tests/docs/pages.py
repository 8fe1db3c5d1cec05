"""What the Markdown pages of the project say: their links, lines, commands and names."""

import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

from experiments import benchmarks, commands
from experiments.commands.command import Command
from experiments.tasks.registry import task_commands

PROJECT = Path(__file__).resolve().parents[2]
FOLDERS = (".github", "configs", "experiments", "symjax_frames", "tests")
MAX_WIDTH = 100


def pages() -> list[Path]:
    """All pages of the project."""
    beneath = (page for folder in FOLDERS for page in (PROJECT / folder).rglob("*.md"))
    return sorted([*PROJECT.glob("*.md"), *beneath])


def without_code(text: str) -> str:
    """The text with blocks of code left out, line by line."""
    return re.sub(
        r"^```.*?^```$", lambda block: "\n" * block[0].count("\n"), text, flags=re.M | re.S
    )


def code(text: str) -> str:
    """Blocks of code, and what stands in backticks."""
    blocks = re.findall(r"^```\w*\n(.*?)^```$", text, flags=re.M | re.S)
    return "\n".join([*blocks, *re.findall(r"`([^`]+)`", without_code(text))])


def dead_links(text: str, folder: Path) -> Iterator[str]:
    """Relative links of a page in a folder that lead nowhere."""
    prose = re.sub(r"`[^`]*`", "", without_code(text))
    for link in re.findall(r"\]\(([^)\s]+)\)", prose):
        if re.match(r"\w+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = folder / path if path else None
        if target is not None and not target.exists():
            yield link
        elif anchor and anchor not in anchors(target.read_text("utf-8") if target else text):
            yield link


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", without_code(text), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def long_lines(text: str) -> Iterator[str]:
    """Lines of prose that are too long; tables, links and code are not prose."""
    for line in without_code(text).splitlines():
        if len(line) > MAX_WIDTH and not line.startswith("|") and "](" not in line:
            yield line


def unknown_commands(text: str) -> Iterator[str]:
    """Commands, benchmarks, targets of make and configurations that do not exist."""
    names = {command.name for command in (*shared_commands(), *task_commands())}
    benchmark_names = {module.name for module in pkgutil.iter_modules(benchmarks.__path__)}
    targets = re.findall(r"^([\w./-]+):", (PROJECT / "Makefile").read_text("utf-8"), flags=re.M)
    configs = {path.name for path in (PROJECT / "configs").iterdir()}
    others = {".pre-commit-config.yaml", "config.yaml", "NAME.yaml"}
    searches = (
        (r"python -m experiments (\w+)", names),
        (r"\bbenchmark ([a-z]\w*)", benchmark_names),
        (r"^make ([a-z][\w./-]*)", targets),
        (r"([\w.-]+\.yaml)", configs | others),
    )
    for pattern, known in searches:
        for name in re.findall(pattern, code(text), flags=re.M):
            if name not in known:
                yield name


def shared_commands() -> list[Command]:
    """The commands that are no task's own."""
    found = pkgutil.iter_modules(commands.__path__)
    modules = [importlib.import_module(f"experiments.commands.{module.name}") for module in found]
    return [module.COMMAND for module in modules if hasattr(module, "COMMAND")]


def unknown_names(text: str) -> Iterator[str]:
    """Dotted names of the library and of the application that do not exist."""
    imports = re.findall(r"^from (\S+) import (\w+)$", code(text), flags=re.M)
    dotted = re.findall(r"(?<![\w./])(?:symjax_frames|experiments|sf)(?:\.\w+)+", code(text))
    for name in [*dotted, *(".".join(parts) for parts in imports)]:
        name = re.sub(r"^sf\.", "symjax_frames.", name)
        if name.startswith(("symjax_frames.", "experiments.")) and not exists(name):
            yield name


def exists(name: str) -> bool:
    """Whether a dotted name is a module, or an attribute of one."""
    module, *attributes = name.split(".")
    found = importlib.import_module(module)
    for attribute in attributes:
        module += f".{attribute}"
        if not hasattr(found, attribute):
            try:
                importlib.import_module(module)
            except ModuleNotFoundError:
                return False
        found = getattr(found, attribute)
    return True
