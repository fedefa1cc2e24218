"""Which layers a recipe's globs choose, by name alone: so that a bad glob is found before a model is built."""

import re
from collections.abc import Sequence
from fnmatch import filter as matching

from audioptq.errors import UserError, did_you_mean
from audioptq.quantize.recipe.recipe import QuantRecipe

SHOWN = 5


def choose_layers(recipe: QuantRecipe, candidates: Sequence[str]) -> list[str]:
    """The candidates that `recipe.layers` includes and does not exclude, in their order.

    Raises:
        UserError: If a glob of the recipe matches no candidate.
    """
    layers = recipe.layers
    chosen: dict[str, set[str]] = {}
    for kind, globs in {
        "include": layers.include,
        "exclude": layers.exclude,
        "overrides": [override.glob for override in layers.overrides],
    }.items():
        matches = {glob: matching(candidates, glob) for glob in globs}
        for glob in [glob for glob, names in matches.items() if not names]:
            more = f", ... ({len(candidates)} in all)" if len(candidates) > SHOWN else ""
            raise UserError(
                f"`recipes.{recipe.name}.layers.{kind}` has the glob `{glob}`, which matches no layer."
                f"{_near_names(glob, candidates)} The layers are {', '.join(candidates[:SHOWN])}{more}."
            )
        chosen[kind] = set().union(*matches.values())
    return [name for name in candidates if name in chosen["include"] - chosen["exclude"]]


def _near_names(glob: str, names: Sequence[str]) -> str:
    """A question that names what is nearest: where the parts of a glob are nearly parts of layer names, one of these."""
    known = sorted({part for name in names for part in name.split(".")})
    unknown = [part for part in re.split(r"[.*?]+", glob) if part and part not in known]
    return did_you_mean(unknown[0], known) if unknown else did_you_mean(glob, names)
