"""Which values of a section do not go together, as two tables, and what is said about them."""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import BaseModel, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

ReadWith = Mapping[str, Mapping[str, Sequence[Any]]]
"""A key to the values that others must have where it is read: `{"closure": {"frame": ["pca"]}}`."""

MISTAKE = "mistake"
"""The type of the errors that have their own message."""


class Rule(NamedTuple):
    """What a value must be beside others.

    Attributes:
      key: where it stands, from the section that has the rule; `data.path` is in a section below.
      must: what it must be, after "must"; `{section.group!r}` stands for another value.
      holds: whether the values of a section agree with the rule.
    """

    key: str
    must: str
    holds: Callable[[Any], bool]


def mistake(message: str) -> PydanticCustomError:
    """The error to raise in a validator of a field; the message goes on after the key."""
    return PydanticCustomError(MISTAKE, "{message}", {"message": message})


def one_of(values: Sequence[Any]) -> str:
    """Values in words: `'a', 'b' or 'c'`."""
    *first, last = map(repr, values)
    return f"{', '.join(first)} or {last}" if first else last


def unread(section: BaseModel, table: ReadWith) -> dict[str, str]:
    """The keys that are not read beside the values of the others, and what these should be."""
    reasons = {}
    for key, conditions in table.items():
        unmet = [
            f"{other} is {one_of(values)}"
            for other, values in conditions.items()
            if _value(section, other) not in values
        ]
        if unmet:
            reasons[key] = " and ".join(unmet)
    return reasons


def check_combinations(section: BaseModel, table: ReadWith, rules: Sequence[Rule]) -> None:
    """Refuses values that do not go together.

    Args:
      section: the values.
      table: keys that must have their default where they are not read.
      rules: what else must hold.

    Raises:
      ValidationError: with an error at the key of each mistake.
    """
    mistakes = [*_broken(section, rules), *_needless(section, table)]
    if mistakes:
        raise ValidationError.from_exception_data(
            type(section).__name__,
            [
                InitErrorDetails(
                    type=mistake(f"must {must}, got {_shown(_value(section, key))}"),
                    loc=tuple(key.split(".")),
                    input=_value(section, key),
                )
                for key, must in mistakes
            ],
        )


def _broken(section: BaseModel, rules: Sequence[Rule]) -> Iterator[tuple[str, str]]:
    for rule in rules:
        if not rule.holds(section):
            yield rule.key, rule.must.format(section=section)


def _needless(section: BaseModel, table: ReadWith) -> Iterator[tuple[str, str]]:
    for key, reason in unread(section, table).items():
        *path, name = key.split(".")
        owner = _value(section, ".".join(path))
        if _value(section, key) != type(owner).model_fields[name].default:
            yield key, f"be left out unless {reason}"


def _value(section: BaseModel, key: str) -> Any:
    return functools.reduce(getattr, key.split(".") if key else [], section)


def _shown(value: Any) -> str:
    # As in a file, where there are no tuples.
    return repr(list(value) if isinstance(value, tuple) else value)
