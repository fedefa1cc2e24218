"""How a recipe's sections are declared and read: legal values stand beside each field, and errors name the key."""

import dataclasses
import difflib
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from audioptq.errors import UserError

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
    return dataclasses.field(default=default, metadata={"values": values})


def number(low: float, high: float, default: Any = dataclasses.MISSING) -> Any:
    """Declares a real number in the closed interval `[low, high]`."""
    return dataclasses.field(default=default, metadata={"interval": (low, high)})


def count(*words: str, default: Any = dataclasses.MISSING) -> Any:
    """Declares a whole number of at least 1, or one of some words in its place."""
    return dataclasses.field(default=default, metadata={"count": words})


def check_fields(section: Any) -> None:
    """Checks every declared field of a dataclass instance; a field that may be absent and is None passes.

    Raises:
        RecipeError: If a value is not legal.
    """
    for field in dataclasses.fields(section):
        value = getattr(section, field.name)
        if value is not None or field.default is not None:
            _check_value(field.name, value, field.metadata)


def _check_value(key: str, value: Any, declared: Mapping[str, Any]) -> None:
    # YAML's true and 1.0 would pass as 1 otherwise.
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    if "values" in declared:
        values = declared["values"]
        if not (is_whole or isinstance(value, str)) or value not in values:
            raise RecipeError(key, f"is {value!r}; legal values are {_listed(values)}{nearest(value, values)}")
    if "interval" in declared:
        low, high = declared["interval"]
        is_real = is_whole or isinstance(value, float)
        if not is_real or not low <= value <= high:
            raise RecipeError(key, f"is {value!r}; it must be a number from {low} to {high}.")
    words = declared.get("count")
    if words is not None and value not in words and not (is_whole and value >= 1):
        also = "".join(f", or {word}" for word in words)
        raise RecipeError(key, f"is {value!r}; it must be a whole number of at least 1{also}.")


def read_section(kind: type[Section], entry: Any, key: str) -> Section:
    """Builds the dataclass `kind` from a config mapping found under `key`.

    Raises:
        RecipeError: If a key is unknown, missing or in `kind.GONE`, or a value is illegal; its path starts with `key`.
    """
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for name, why in getattr(kind, "GONE", {}).items():
        if isinstance(entry, Mapping) and name in entry:
            raise RecipeError(f"{key}.{name}", why)
    check_keys(entry, fields, key)
    for name, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and name not in entry:
            legal = _listed(field.metadata["values"]) if "values" in field.metadata else "whole numbers from 1"
            raise RecipeError(f"{key}.{name}", f"is missing; legal values are {legal}.")
    try:
        return kind(**entry)
    except RecipeError as error:
        raise error.under(key) from None


def check_keys(entry: Any, known: Iterable[str], key: str) -> None:
    """Checks that `entry` is a mapping with no unknown key.

    Raises:
        RecipeError: Naming the first unknown key and the nearest legal one.
    """
    known = list(known)
    if not isinstance(entry, Mapping):
        raise RecipeError(key, f"is {entry!r}; it must be a mapping with keys among {_listed(known)}.")
    for name in entry:
        if name not in known:
            raise RecipeError(f"{key}.{name}", f"is not a known key{nearest(name, known)} Known: {_listed(known)}.")


def nearest(value: Any, known: Iterable[Any]) -> str:
    """The end of a sentence: the nearest of `known` as a question, or a full stop when none is near."""
    matches = difflib.get_close_matches(str(value), [str(item) for item in known], n=1, cutoff=0.5)
    return f"; did you mean `{matches[0]}`?" if matches else "."


def _listed(values: Iterable[Any]) -> str:
    return ", ".join(str(value) for value in values)
