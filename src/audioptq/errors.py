"""Errors that a user can mend; everything else is a bug and keeps its traceback."""

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path


class UserError(Exception):
    """A mistake the user can mend: its text is one paragraph saying what is wrong, where, and how to mend it."""


class DamagedArtifactError(UserError):
    """A file of the workflow is missing, truncated or altered; the text names it and how to rebuild it."""


def did_you_mean(value: object, known: Iterable[object]) -> str:
    """A question to follow a full stop, with a space before it, that names the nearest of `known`; empty if none is near."""
    near = get_close_matches(str(value), [str(item) for item in known], n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


def damaged(path: str | Path, why: object, cure: str) -> DamagedArtifactError:
    """The error of a file that cannot be used; `cure` is a sentence."""
    return DamagedArtifactError(f"{path} cannot be used: {why}. {cure}")
