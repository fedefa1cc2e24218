"""Which layers a recipe's globs choose, by name alone: so that a bad glob is found before a model is built."""

import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from audioptq.errors import UserError
from audioptq.quantize.recipe.options import nearest
from audioptq.quantize.recipe.recipe import QuantRecipe


def choose_layers(recipe: QuantRecipe, candidates: Sequence[str]) -> list[str]:
    """The candidates that `recipe.layers` includes and does not exclude, in their order.

    Raises:
        UserError: If a glob of the recipe matches no candidate.
    """
    layers = recipe.layers
    for kind, globs in {
        "include": layers.include,
        "exclude": layers.exclude,
        "overrides": [override.glob for override in layers.overrides],
    }.items():
        for glob in globs:
            if not _matching(candidates, [glob]):
                raise UserError(
                    f"`recipes.{recipe.name}.layers.{kind}` has the glob `{glob}`, which matches no layer"
                    f"{_near_names(glob, candidates)} The layers are {some(candidates)}."
                )
    excluded = set(_matching(candidates, layers.exclude))
    return [name for name in _matching(candidates, layers.include) if name not in excluded]


def _matching(names: Iterable[str], globs: Iterable[str]) -> list[str]:
    globs = list(globs)
    return [name for name in names if any(fnmatchcase(name, glob) for glob in globs)]


def _near_names(glob: str, names: Sequence[str]) -> str:
    """Where the parts of a glob are nearly parts of layer names, the end of a sentence that says so."""
    known = sorted({part for name in names for part in name.split(".")})
    for part in re.split(r"[.*?]+", glob):
        if part and part not in known:
            return nearest(part, known)
    return nearest(glob, names)


def some(names: Sequence[str]) -> str:
    """The first few names, and how many there are."""
    shown = ", ".join(names[:5])
    return shown if len(names) <= 5 else f"{shown}, ... ({len(names)} in all)"
