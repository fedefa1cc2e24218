"""Checks a workflow configuration before any job starts, and says what to change in the user's words."""

import os
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError, best_match

from audioptq.errors import UserError
from audioptq.quantize.recipe import LayerSpec, QuantRecipe
from audioptq.quantize.select import choose_layers
from audioptq.score.table import metric_info


def check_config(config: Mapping[str, Any], schema_path: str | Path) -> None:
    """Checks keys and values against the schema, recipes against the library, and names against each other.

    Raises:
        UserError: With the path of the key, the legal values, and the nearest legal name.
    """
    schema = yaml.safe_load(Path(schema_path).read_text(encoding="utf-8"))
    error = best_match(Draft202012Validator(schema).iter_errors(dict(config)))
    if error is not None:
        raise UserError(_explain(error))
    for name, entry in config["recipes"].items():
        QuantRecipe.from_config(name, entry)
    for metric in config["metrics"]:
        metric_info(metric)
    _check_writable(config["results"])
    _known("model", [config["model"]], config["models"])
    _known("dataset", [config["dataset"]], config["datasets"])
    _known("run", config["run"], config["recipes"])
    _check_generation(config)
    _check_globs(config)


def _check_generation(config: Mapping[str, Any]) -> None:
    if "fp32" not in config["run"]:
        raise UserError(
            "`run` does not list fp32. Ratios, differences and the noise floor refer to it: add fp32 to the list."
        )
    generation = config["generation"]
    if generation["noise_floor_seed"] in generation["seeds"]:
        raise UserError(
            f"`generation.noise_floor_seed` is {generation['noise_floor_seed']}, which is also one of `generation.seeds`. "
            "The noise floor is what another seed of fp32 gives: choose a number that the list does not hold."
        )
    sampler = config["sampler"]
    if sampler["sigma_min"] >= sampler["sigma_max"]:
        raise UserError(
            f"`sampler.sigma_min` is {sampler['sigma_min']} and `sampler.sigma_max` is {sampler['sigma_max']}: "
            "sampling goes from sigma_max down to sigma_min, so sigma_max must be the larger one."
        )


def _check_globs(config: Mapping[str, Any]) -> None:
    recipes = [QuantRecipe.from_config(name, config["recipes"][name]) for name in config["run"]]
    if any(recipe.layers != LayerSpec() for recipe in recipes):
        from audioptq.models.layout import block_linears  # imports torch, which a plain config need not wait for

        candidates = block_linears(Path(config["models"][config["model"]]["path"]) / "model.safetensors")
        for recipe in recipes:
            choose_layers(recipe, candidates)


def _check_writable(results: str) -> None:
    place = Path(results).absolute()
    while not place.exists():
        place = place.parent
    if not place.is_dir() or not os.access(place, os.W_OK):
        why = "it is not a folder" if not place.is_dir() else "there is no permission to write there"
        raise UserError(
            f"The results cannot be written to {results!r}: {place}: {why}. Set `results` in the config to a folder of yours, "
            "or mend its permissions."
        )


def _known(key: str, names: Iterable[str], legal: Mapping[str, Any]) -> None:
    for name in names:
        if name not in legal:
            raise UserError(
                f"`{key}` names {name!r}, which is not defined.{_nearest(name, legal)} Defined are {', '.join(legal)}."
            )


def _nearest(name: object, legal: Iterable[str]) -> str:
    near = get_close_matches(str(name), list(legal), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


def _explain(error: ValidationError) -> str:
    where = ".".join(str(part) for part in error.absolute_path)
    schema = error.schema if isinstance(error.schema, dict) else {}
    if error.validator == "additionalProperties" and isinstance(error.instance, dict):
        legal = list(schema.get("properties", {}))
        unknown = next(key for key in error.instance if key not in legal)
        key = f"{where}.{unknown}" if where else str(unknown)
        return f"The config has the unknown key `{key}`.{_nearest(unknown, legal)} Legal here are {', '.join(legal)}."
    if error.validator == "required":
        return f"The config lacks a key: {error.message} under `{where or 'the top level'}`."
    return f"The config value `{where or 'at the top level'}` is not legal: {error.message}."
