"""How a recipe's sections are declared and read: what is legal stands beside each field, and errors name the key."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from audioptq.errors import UserError, did_you_mean

Section = TypeVar("Section")


class RecipeError(UserError):
    """An illegal key or value of a recipe; `key` is its dotted path, `why` says what is legal."""

    def __init__(self, key: str, why: str) -> None:
        super().__init__(f"`{key}` {why}")
        self.key = key
        self.why = why

    def under(self, parent: str) -> "RecipeError":
        """The same error seen from the section that holds this one."""
        return RecipeError(f"{parent}.{self.key}", self.why)


def one_of(*values: int | str, default: Any = dataclasses.MISSING) -> Any:
    """Declares a field with a fixed set of legal values; without a default the key is required."""
    legal = f"legal values are {', '.join(map(str, values))}"
    # YAML's true and 1.0 would pass as 1 without a look at their types, here and below.
    return _field(default, legal, lambda value: type(value) in (int, str) and value in values, values=values)


def number(low: float, high: float, default: Any = dataclasses.MISSING) -> Any:
    """Declares a real number in the closed interval `[low, high]`."""
    legal = f"it must be a number from {low} to {high}"
    return _field(default, legal, lambda value: type(value) in (int, float) and low <= value <= high)


def count(*words: str, default: Any = dataclasses.MISSING) -> Any:
    """Declares a whole number of at least 1, or one of some words in its place."""
    legal = f"it must be a whole number of at least 1{''.join(f', or {word}' for word in words)}"
    return _field(default, legal, lambda value: (type(value) is int and value >= 1) or value in words, count=words)


def _field(default: Any, legal: str, is_legal: Any, **declared: Any) -> Any:
    return dataclasses.field(default=default, metadata={"legal": legal, "is_legal": is_legal, **declared})


def check_fields(section: Any) -> None:
    """Checks every declared field of a dataclass instance; a field that may be absent and is None passes.

    Raises:
        RecipeError: If a value is not legal.
    """
    for field in dataclasses.fields(section):
        value, declared = getattr(section, field.name), field.metadata
        is_absent = value is None and field.default is None
        if declared and not is_absent and not declared["is_legal"](value):
            values = declared.get("values", ())
            hint = did_you_mean(value, values)
            if isinstance(value, str) and value in map(str, values):  # the number as text
                hint = (
                    " Write it without quotes, and in a file: snakemake's --config makes text of what stands in braces."
                )
            raise RecipeError(field.name, f"is {value!r}; {declared['legal']}.{hint}")


def read_section(kind: type[Section], entry: Any, key: str) -> Section:
    """Builds the dataclass `kind` from a config mapping found under `key`.

    Raises:
        RecipeError: If a key is unknown, missing or in `kind.GONE`, or a value is illegal; its path starts with `key`.
    """
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    check_keys(entry, fields, key, getattr(kind, "GONE", {}))
    for name, field in fields.items():
        if field.default is dataclasses.MISSING and name not in entry:
            raise RecipeError(f"{key}.{name}", f"is missing; {field.metadata['legal']}.")
    try:
        return kind(**entry)
    except RecipeError as error:
        raise error.under(key) from None


def check_keys(entry: Any, known: Iterable[str], key: str, gone: Mapping[str, str] | None = None) -> None:
    """Checks that `entry` is a mapping with no unknown key.

    Raises:
        RecipeError: Naming the first unknown key and the nearest legal one, or what became of a key that is gone.
    """
    known = list(known)
    if not isinstance(entry, Mapping):
        raise RecipeError(key, f"is {entry!r}; it must be a mapping with keys among {', '.join(known)}.")
    for name in entry:
        if name in (gone or {}):
            raise RecipeError(f"{key}.{name}", (gone or {})[name])
        if name not in known:
            raise RecipeError(
                f"{key}.{name}", f"is not a known key.{did_you_mean(name, known)} Known: {', '.join(known)}."
            )
