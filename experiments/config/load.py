"""Reads a configuration: a YAML file, and overrides from the command line on top of it."""

import difflib
import os
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from experiments.config.explain import allowed_values, explain, refusal
from experiments.config.rules import one_of
from experiments.config.sections import Config, ModelConfig
from experiments.errors import UsageError
from experiments.tasks.registry import TASKS, task_entry


def load_config(path: str | Path, overrides: Sequence[str] = (), *, stored: bool = False) -> Config:
    """Reads the configuration file at `path`.

    Args:
      path: a YAML file.
      overrides: assignments such as `train.epochs=3`, whose values are YAML; a text that may be
        any, such as the path of a file, is taken as it is.
      stored: whether the file is that of a run. Then the keys of its model are first brought into
        the words of today, and those that the overrides leave without a meaning are left out.

    Returns:
      The checked configuration; `run` is filled in from the name of the file.

    Raises:
      UsageError: if the file cannot be read or says something that is not allowed. The message has
        one line for each mistake.
    """
    values = _read_mapping(Path(path))
    if stored and isinstance(values.get("model"), dict):
        # Before the overrides, which are in the words of today.
        values["model"] = _model_class(_config_class(values, str(path))).upgraded(values["model"])
    replaced = [_override(values, assignment) for assignment in overrides]
    if len(set(replaced)) < len(replaced):
        twice = next(key for key in replaced if replaced.count(key) > 1)
        raise UsageError(f"command line: {twice}: must be given once, got it twice")
    values.setdefault("run", str(Path("runs") / Path(path).stem))
    kind = _config_class(values, "command line" if "task" in replaced else str(path))
    if stored and isinstance(values.get("model"), dict):
        for key in _model_class(kind).model_construct(**values["model"]).unread():
            if f"model.{key}" not in replaced:
                values["model"].pop(key, None)
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        lines = []
        for key, message in explain(kind, error):
            overridden = any(key == name or key.startswith(f"{name}.") for name in replaced)
            lines.append(f"{'command line' if overridden else path}: {key}: {message}")
        raise UsageError("\n".join(lines)) from None


def dump_config(config: Config) -> str:
    """The configuration as the text of a YAML file that `load_config` reads back."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


def _config_class(values: dict[str, Any], source: str) -> type[Config]:
    allowed = one_of(list(TASKS))
    if "task" not in values:
        close = difflib.get_close_matches("task", map(str, values), 1)
        suggestion = f" (did you mean it by the key {close[0]!r}?)" if close else ""
        raise UsageError(f"{source}: task: must be {allowed}, got nothing{suggestion}")
    task = values["task"]
    if not isinstance(task, str) or task not in TASKS:
        raise UsageError(f"{source}: task: {refusal(task, allowed)}")
    return task_entry(task).config


def _model_class(kind: type[Config]) -> type[ModelConfig]:
    section: Any = kind.model_fields["model"].annotation
    return section


class _Loader(yaml.SafeLoader):
    """YAML in which a key that stands twice in one mapping is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key, _ in node.value:
            if str(key.value) in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"the key {key.value!r} stands twice", problem_mark=key.start_mark
                )
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


def _parse(text: str, source: str) -> Any:
    try:
        # _Loader extends SafeLoader: it builds plain values only.
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = error.problem or error.context or "not YAML"
        if "\\t" in problem:
            problem = "must be indented by spaces, got a tab"
        raise UsageError(f"{source}{where}: {problem}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise UsageError(f"{source}: must be YAML, got {str(error).splitlines()[0]}") from None
    except RecursionError:
        raise UsageError(f"{source}: must be YAML, got too many brackets in brackets") from None


def _read_mapping(path: Path) -> dict[str, Any]:
    if os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path):
        # To open a pipe would wait for somebody to write into it.
        raise UsageError(f"{path}: must be a YAML file, got no regular file")
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UsageError(f"{path}: must be a YAML file, got no such file") from None
    except IsADirectoryError:
        stored = path / "config.yaml"
        hint = f"; to continue its run: {stored}" if stored.is_file() else ""
        raise UsageError(f"{path}: must be a YAML file, got a folder{hint}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path}: must be a YAML file, got no text in UTF-8") from None
    except OSError as error:
        raise UsageError(f"{path}: must be a readable file, got {error.strerror}") from None
    values = _parse(text, str(path))
    mapping = f"must be a mapping of keys, such as `task: {next(iter(TASKS))}`"
    if values is None:
        raise UsageError(f"{path}: {mapping}, got an empty file")
    if not isinstance(values, dict):
        raise UsageError(f"{path}: {mapping}, got a {type(values).__name__} at the top")
    return values


def _override(values: dict[str, Any], assignment: str) -> str:
    key, separator, text = assignment.partition("=")
    parts = key.split(".")
    if not separator or not all(part.isidentifier() for part in parts):
        raise UsageError(
            f"command line: must be key=value, such as train.epochs=3, got {assignment!r}"
        )
    section = values
    for depth, part in enumerate(parts[:-1], start=1):
        if section.get(part) is None:
            section[part] = {}
        if not isinstance(section[part], dict):
            raise UsageError(
                f"command line: {key}: must be section.key=value, such as train.epochs=3, got "
                f"{'.'.join(parts[:depth])}, which is no section"
            )
        section = section[part]
    plain = text not in ("", "~", "null") and text[0] not in "'\""
    raw = plain and any(_is_text(task_entry(task).config, parts) for task in TASKS)
    section[parts[-1]] = text if raw else _parse(text, f"command line: {key}")
    return key


def _is_text(kind: type[Config], parts: Sequence[str]) -> bool:
    """Whether any text may stand at a key, as the name of a file, which may look like YAML."""
    try:
        return allowed_values(kind, tuple(parts)) in ("a text", "a text, or null")
    except KeyError:
        return False
