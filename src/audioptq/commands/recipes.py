"""Finds the recipe that a user names: in a file with a library of them, or in a file of its own."""

from pathlib import Path
from typing import Any

import yaml

from audioptq.errors import UserError, did_you_mean
from audioptq.quantize.recipe.recipe import QuantRecipe

LIBRARY = "config.yaml"
SUFFIXES = (".yaml", ".yml")


def find_recipe(name: str, library: str | None) -> tuple[QuantRecipe, dict[str, Any]]:
    """A recipe by its name or its file.

    Args:
        name: Key of `recipes` in the library, or a YAML file that holds one recipe's entry.
        library: A YAML file with `recipes`; None for config.yaml in the current folder, if it is there.

    Returns:
        The recipe, and the library's settings of the sampler, empty without any.

    Raises:
        UserError: If there is no such recipe or file, or its values are not legal.
    """
    content = _library(library)
    sampler = content.get("sampler")
    settings = sampler if isinstance(sampler, dict) else {}
    if Path(name).suffix in SUFFIXES:
        return QuantRecipe.from_config(Path(name).stem, read_mapping(name)), settings
    recipes = content.get("recipes")
    if not isinstance(recipes, dict):
        where = library or LIBRARY
        raise UserError(
            f"There is no library of recipes to find {name!r} in: {where} "
            f"{'has no mapping `recipes`' if content else 'is not here'}. Name a file with one by --recipes, or give a "
            "recipe's own YAML file in place of its name."
        )
    if name not in recipes:
        raise UserError(
            f"There is no recipe {name!r} in {library or LIBRARY}.{did_you_mean(name, recipes)} It has {', '.join(recipes)}."
        )
    return QuantRecipe.from_config(name, recipes[name]), settings


def read_mapping(path: str | Path) -> dict[str, Any]:
    """A YAML file that holds a mapping; an empty one is an empty mapping.

    Raises:
        UserError: If it cannot be read or holds something else.
    """
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"The recipe file {path} cannot be read: {error}. Give a YAML file.") from error
    if content is not None and not isinstance(content, dict):
        raise UserError(f"The recipe file {path} holds no mapping: it must be YAML with keys such as `weight`.")
    return content or {}


def _library(path: str | None) -> dict[str, Any]:
    if path is None and not Path(LIBRARY).is_file():
        return {}
    return read_mapping(path or LIBRARY)
