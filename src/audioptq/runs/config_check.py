"""Checks a workflow configuration before any job starts, and says what to change in the user's words."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError, best_match

from audioptq.errors import UserError, did_you_mean
from audioptq.evaluators import evaluator_info, evaluators
from audioptq.models.registry import objective_name
from audioptq.quantize.recipe.choose_layers import choose_layers
from audioptq.quantize.recipe.overrides import LayerSpec
from audioptq.quantize.recipe.recipe import QuantRecipe
from audioptq.references.source import AudioSource
from audioptq.sampling.settings import SamplerSettings
from audioptq.score.table import METRICS, STATISTICS, metric_info
from audioptq.score.verdict import Margin

# Keys of earlier versions, and what to do about them.
GONE = {
    "generation.keep_weights": "integer products pack no weights that could be kept. Remove the line; clips are the same.",
}


def check_config(config: Mapping[str, Any], schema_path: str | Path) -> None:
    """Checks keys and values against the schema, recipes against the library, and names against each other.

    Raises:
        UserError: With the path of the key, the legal values, and the nearest legal name.
    """
    _check_gone(config)
    schema = yaml.safe_load(Path(schema_path).read_text(encoding="utf-8"))
    error = best_match(Draft202012Validator(schema).iter_errors(dict(config)))
    if error is not None:
        raise UserError(_explain(error))
    for name, entry in config["recipes"].items():
        QuantRecipe.from_config(name, entry)
    for metric in config["metrics"]:
        metric_info(metric)
    _check_writable(config["results"])
    for dataset in config["datasets"].values():
        if dataset.get("audio"):
            AudioSource.from_config(dataset["audio"])
    for name, entry in config["evaluators"].items():
        evaluator_info(name).variant(entry.get("variant"))
    _known("model", [config["model"]], config["models"])
    _known("dataset", [config["dataset"]], config["datasets"])
    _known("run", config["run"], config["recipes"])
    _known("bench.models", config["bench"]["models"], config["models"])
    _check_generation(config)
    _check_length(config)
    _check_published(config["report"].get("published", []))
    _check_margins(config["verdicts"]["margins"])
    _check_globs(config)


def check_files(config: Mapping[str, Any], downloadable: Iterable[str]) -> None:
    """Checks that what the config says of evaluators' files is about files that there are.

    Args:
        config: As `check_config` passed it.
        downloadable: Names in workflow/weights.tsv.

    Raises:
        UserError: With the key, the legal names and the nearest one.
    """
    used = {name for info in evaluators().values() for names in info.weights.values() for name in names}
    known = dict.fromkeys([*sorted(used), *downloadable])
    _known("weights", config["weights"], known)
    for dataset in config["datasets"].values():
        for evaluator, name in dataset.get("published_references", {}).items():
            evaluator_info(evaluator)
            if not Path(name).is_file():
                _known("published_references", [name], known)


def _check_gone(config: Mapping[str, Any]) -> None:
    for key, what_to_do in GONE.items():
        part: Any = config
        for name in key.split("."):
            if not isinstance(part, Mapping) or name not in part:
                break
            part = part[name]
        else:
            raise UserError(f"The config key `{key}` is gone: {what_to_do}")


def _check_margins(margins: Mapping[str, Any]) -> None:
    statistics = [statistic + target for statistic in STATISTICS for target in ("", "_fp32")]
    _known("verdicts.margins", margins, dict.fromkeys([*statistics, *METRICS]))
    for name, entry in margins.items():
        if entry is not None:
            Margin.from_config(name, entry)


def _check_published(rows: Iterable[Mapping[str, Any]]) -> None:
    for row in rows:
        for key, value in row.items():
            if key not in ("source", "recipe"):
                metric_info(key)
                if isinstance(value, bool) or not isinstance(value, int | float):
                    raise UserError(f"`report.published` gives {key} the value {value!r}: a number is needed.")


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
    settings = SamplerSettings(**config["sampler"])
    path = config["models"][config["model"]].get("path")
    if path is not None and Path(path).is_dir() and (objective := objective_name(path)) is not None:
        settings.for_objective(objective)


def _check_length(config: Mapping[str, Any]) -> None:
    seconds = config["datasets"][config["dataset"]]["seconds_total"]
    for metric in config["metrics"]:
        embedder = metric_info(metric).embedder
        limit = evaluator_info(embedder).max_seconds if embedder else None
        if limit is not None and seconds > limit:
            raise UserError(
                f"`datasets.{config['dataset']}.seconds_total` is {seconds:g}, and {metric} takes at most {limit:g} "
                f"seconds: set it to {limit:g} or less, or remove {metric} from `metrics`."
            )


def _check_globs(config: Mapping[str, Any]) -> None:
    recipes = [QuantRecipe.from_config(name, config["recipes"][name]) for name in config["run"]]
    path = config["models"][config["model"]].get("path")  # a model that is yet to be downloaded has no header to read
    if path is not None and any(recipe.layers != LayerSpec() for recipe in recipes):
        from audioptq.models.registry import site_names  # imports torch, which a plain config need not wait for

        candidates = site_names(path)
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
                f"`{key}` names {name!r}, which is not defined.{did_you_mean(name, legal)} Defined are {', '.join(legal)}."
            )


def _explain(error: ValidationError) -> str:
    where = ".".join(str(part) for part in error.absolute_path)
    schema = error.schema if isinstance(error.schema, dict) else {}
    if error.validator == "additionalProperties" and isinstance(error.instance, dict):
        legal = list(schema.get("properties", {}))
        unknown = next(key for key in error.instance if key not in legal)
        key = f"{where}.{unknown}" if where else str(unknown)
        return (
            f"The config has the unknown key `{key}`.{did_you_mean(unknown, legal)} Legal here are {', '.join(legal)}."
        )
    if error.validator == "required":
        return f"The config lacks a key: {error.message} under `{where or 'the top level'}`."
    return f"The config value `{where or 'at the top level'}` is not legal: {error.message}."
