"""Says what is wrong with a configuration: the key, what it must be, what it is."""

import difflib
import math
import re
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ValidationError

from experiments.config.rules import MISTAKE, one_of


def allowed_values(model: type[BaseModel], path: tuple[Any, ...]) -> str:
    """Describes in words the values that the key at `path` may have."""
    root = model.model_json_schema()
    schema: dict[str, Any] = root
    for part in path:
        schema = _resolve(root, schema)
        schema = schema["items"] if isinstance(part, int) else schema["properties"][part]
    return _describe(_resolve(root, schema))


def explain(model: type[BaseModel], error: ValidationError) -> Iterator[tuple[str, str]]:
    """Yields the dotted key and the explanation of each mistake that pydantic found."""
    mistakes = error.errors()
    paths = [tuple(mistake["loc"]) for mistake in mistakes]
    for path, mistake in zip(paths, mistakes, strict=True):
        # A list whose only item is wrong is called too short as well.
        inner = any(other[: len(path)] == path and other != path for other in paths)
        if mistake["type"] == "too_short" and inner:
            continue
        if mistake["type"] == MISTAKE:
            yield dotted(path), mistake["msg"]
        elif mistake["type"] in ("extra_forbidden", "invalid_key"):
            yield dotted(path), _unknown(model, path)
        elif mistake["type"] == "missing":
            yield dotted(path), f"must be {allowed_values(model, path)}, got nothing"
        else:
            yield dotted(path), refusal(mistake["input"], allowed_values(model, path))


def refusal(received: Any, allowed: str) -> str:
    """Says that a value is not allowed, and what was probably meant."""
    return f"must be {allowed}, got {received!r}{_hint(received, allowed)}"


def dotted(path: tuple[Any, ...]) -> str:
    """The key as it is written on the command line."""
    return ".".join(map(str, path))


def flatten(section: BaseModel) -> dict[str, Any]:
    """The values of a section by dotted key."""
    flat: dict[str, Any] = {}
    for name, value in section:
        if isinstance(value, BaseModel):
            flat |= {f"{name}.{key}": inner for key, inner in flatten(value).items()}
        else:
            flat[name] = value
    return flat


def list_keys(model: type[BaseModel]) -> Iterator[tuple[str, str, str]]:
    """Yields every dotted key with its default and what it means."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            for key, default, meaning in list_keys(field.annotation):
                yield f"{name}.{key}", default, meaning
        else:
            default = "required" if field.is_required() else _text(field.default)
            meaning = " ".join(str(field.description).split())
            yield name, default, f"{meaning} Must be {allowed_values(model, (name,))}."


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(map(str, value)) + "]"
    return "null" if value is None else str(value)


def _resolve(root: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in schema:
        return root["$defs"][schema["$ref"].rsplit("/", 1)[-1]]
    return schema


def _describe(schema: dict[str, Any]) -> str:
    if "anyOf" in schema:
        return ", or ".join(_describe(choice) for choice in schema["anyOf"])
    if "const" in schema:
        return repr(schema["const"])
    if "enum" in schema:
        return one_of(schema["enum"])
    kind = schema["type"]
    if kind == "object":
        return "a section with the keys " + ", ".join(schema["properties"])
    if kind == "array":
        least, most = schema["minItems"], schema.get("maxItems")
        count = f"{least} items" if least == most else "at least one item"
        return f"a list of {count}, each {_describe(schema['items'])}"
    words = {
        "boolean": "true or false",
        "integer": "a whole number",
        "number": "a number",
        "string": "a text",
        "null": "null",
    }
    limits = {
        "minimum": "at least",
        "exclusiveMinimum": "above",
        "maximum": "at most",
        "exclusiveMaximum": "below",
    }
    bounds = [f"{limits[name]} {schema[name]}" for name in limits if name in schema]
    return f"{words[kind]} {' and '.join(bounds)}".strip()


def _unknown(model: type[BaseModel], path: tuple[Any, ...]) -> str:
    section, received = model, str(path[-1])
    for part in path[:-1]:
        inner = section.model_fields[part].annotation
        assert isinstance(inner, type) and issubclass(inner, BaseModel)
        section = inner
    renamed = getattr(section, "renamed", {})
    if received in renamed:
        return f"unknown key; must be {renamed[received]}"
    names = list(section.model_fields)
    everywhere = [key for key, _, _ in list_keys(model)]
    close = [dotted((*path[:-1], name)) for name in difflib.get_close_matches(received, names, 1)]
    # A key that is right but stands in the wrong section is the other common slip.
    close = close or [key for key in everywhere if key.split(".")[-1] == received]
    suggestion = f" (did you mean {close[0]}?)" if close else ""
    return f"unknown key; must be one of {', '.join(names)}{suggestion}"


def _hint(received: Any, allowed: str) -> str:
    numeric = "number" in allowed
    if isinstance(received, bool):
        return " (YAML reads no, off, false as False and yes, on, true as True: quote a text)"
    if received is None and "'none'" in allowed:
        return " (YAML reads null, ~ and an empty value as nothing: write none)"
    if numeric and isinstance(received, str):
        try:
            value = float(received)
        except ValueError:
            matches = []
        else:
            return f" (this is a text: write {_number(value)})" if math.isfinite(value) else ""
    elif numeric and isinstance(received, float) and received.is_integer():
        return f" (write {received:.0f})" if "whole" in allowed else ""
    else:
        matches = difflib.get_close_matches(str(received), re.findall("'(.*?)'", allowed), 1)
    return f" (did you mean {matches[0]!r}?)" if matches else ""


def _number(value: float) -> str:
    if value.is_integer() and abs(value) < 1e9:
        return f"{value:.0f}"
    mantissa, exponent = f"{value:e}".split("e")
    shortest = mantissa.rstrip("0")
    return f"{shortest}{'0' if shortest.endswith('.') else ''}e{int(exponent):+d}"
