"""What was found, before it is written or drawn."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from audioptq.audio.manifest import UNUSABLE
from audioptq.errors import UserError
from audioptq.files.artifacts import read_json, read_parquet
from audioptq.quantize.recipe.recipe import QuantRecipe
from audioptq.report.formats import Group, measured_groups
from audioptq.report.measure.aggregate import Estimate, Plan
from audioptq.report.measure.compare import Comparison
from audioptq.report.measure.inputs import ReportInputs, Settings, read_manifests, read_scores, without_floor
from audioptq.report.measure.published import PublishedRow, Reproduction, read_published, reproductions
from audioptq.report.measure.table import RecipeRow, build_table
from audioptq.score.table import MetricInfo

WHOLE_SET = "(the whole set)"


@dataclass(frozen=True)
class Results:
    """The numbers of a report.

    Attributes:
        prompts: The prompts table.
        scores: Every score row, those of the noise floor too.
        manifest: Every clip, those of the noise floor too.
        metrics: Metrics that some recipe has, in the registry's order.
        sizes: Size records by recipe.
        layers: Tables of layers by recipe.
        table: One row per recipe.
        floors: By metric, what another seed of the baseline does.
        comparisons: One row per recipe and metric.
        settings: What score files say of themselves, by recipe, seed and metric.
        excluded: Clips that no average contains.
        groups: Columns of the table as they are shown.
        published: Rows of other people's tables.
        reproductions: Our full precision against every published number of it.
    """

    prompts: pd.DataFrame
    scores: pd.DataFrame
    manifest: pd.DataFrame
    metrics: dict[str, MetricInfo]
    sizes: dict[str, dict[str, Any]]
    layers: dict[str, pd.DataFrame]
    table: pd.DataFrame
    floors: dict[str, Estimate]
    comparisons: pd.DataFrame
    settings: Settings
    excluded: pd.DataFrame
    groups: list[Group]
    published: list[PublishedRow]
    reproductions: list[Reproduction]

    @property
    def decimals(self) -> dict[str, int]:
        """Decimals of each shown column."""
        return {column.name: column.decimals for group in self.groups for column in group.columns}


def gather(inputs: ReportInputs) -> Results:
    """Reads everything and computes the table and the comparisons.

    Raises:
        UserError: If an input is damaged, contradicts another, or the baseline is absent.
    """
    if inputs.baseline not in inputs.recipes:
        raise UserError(
            f"The baseline recipe {inputs.baseline!r} is not among the recipes of the report "
            f"({', '.join(inputs.recipes)}). Add it to the list of recipes: ratios and differences refer to it."
        )
    prompts, _ = read_parquet(inputs.prompts, ("clip_id", "caption", "reference_id"))
    prompts["listed_in"] = str(inputs.prompts)
    _check_listen(prompts, inputs)
    scores, metrics, settings = read_scores(inputs.scores)
    scores = scores[scores["recipe"].isin(list(inputs.recipes))]
    _check_floor_seed(scores, inputs)
    manifest = read_manifests({recipe: inputs.manifests.get(recipe, ()) for recipe in inputs.recipes})
    sizes = {recipe: dict(read_json(path)) for recipe, path in inputs.sizes.items()}
    plan = Plan(prompts, inputs.n_replicates, inputs.bootstrap_seed, inputs.level)
    table = build_table(
        inputs.model,
        [_recipe_row(name, entry, inputs.compute) for name, entry in inputs.recipes.items()],
        without_floor(scores, inputs),
        metrics,
        without_floor(manifest, inputs),
        sizes,
        inputs.baseline,
        plan,
    )
    metrics = {metric: info for metric, info in metrics.items() if metric in table}
    main = without_floor(manifest, inputs)
    comparison = Comparison(
        scores,
        metrics,
        inputs.baseline,
        inputs.noise_floor_seed,
        plan,
        margins=inputs.margins,
        unusable=main[main["status"].isin(UNUSABLE)].groupby("recipe").size().to_dict(),
        settings=settings,
    )
    published = read_published(inputs.published)
    return Results(
        prompts=prompts,
        scores=scores,
        manifest=manifest,
        metrics=metrics,
        sizes=sizes,
        layers={recipe: read_parquet(path)[0] for recipe, path in inputs.layers.items()},
        table=table,
        floors=comparison.floors,
        comparisons=comparison.frame(list(inputs.recipes)),
        settings=settings,
        excluded=excluded_clips(scores, manifest),
        groups=measured_groups(table, metrics),
        published=published,
        reproductions=reproductions(published, table, comparison.floors, inputs.baseline),
    )


def _recipe_row(name: str, entry: Mapping[str, Any] | None, compute: Mapping[str, str]) -> RecipeRow:
    recipe = QuantRecipe.from_config(name, entry)
    return RecipeRow(name, recipe.weight_bits, recipe.act_bits, compute.get(name, recipe.compute))


def _check_floor_seed(scores: pd.DataFrame, inputs: ReportInputs) -> None:
    of_seed = scores.loc[scores["seed"] == inputs.noise_floor_seed, "recipe"]
    others = sorted(set(of_seed) - {inputs.baseline})
    if others:
        raise UserError(
            f"Seed {inputs.noise_floor_seed} is the noise floor of {inputs.baseline} and is also scored for "
            f"{', '.join(others)}. Give the noise floor a seed of its own: a recipe's clips are paired with the "
            "baseline's of the same seed."
        )


def _check_listen(prompts: pd.DataFrame, inputs: ReportInputs) -> None:
    known = set(prompts["clip_id"])
    unknown = [clip_id for clip_id in inputs.listen if clip_id not in known]
    if unknown:
        raise UserError(
            f"The clips to listen to include {unknown[0]!r}, which the prompts table does not have. Mend the list of "
            "clips to listen to in the config."
        )


def excluded_clips(scores: pd.DataFrame, manifest: pd.DataFrame) -> pd.DataFrame:
    """Names the clips that no average contains: those without usable audio and those a metric could not score.

    Returns:
        Columns `recipe`, `seed`, `clip_id` (`WHOLE_SET` for a set-level metric that has no value), `reason`, `metrics`
        (those without a value, joined by commas).
    """
    rows: dict[tuple[str, int, str], tuple[str, list[str]]] = {}
    for clip in manifest[manifest["status"].isin(UNUSABLE)].itertuples():
        rows[clip.recipe, int(clip.seed), clip.clip_id] = (f"generated audio is {clip.status.replace('_', ' ')}", [])
    unscored = scores[scores["value"].isna() & scores["replicate"].isna()]
    for row in unscored.itertuples():
        reason = row.note if isinstance(row.note, str) and row.note else "no value"
        clip_id = WHOLE_SET if pd.isna(row.clip_id) else row.clip_id
        rows.setdefault((row.recipe, int(row.seed), clip_id), (reason, []))[1].append(row.metric)
    return pd.DataFrame(
        [(*key, reason, ", ".join(dict.fromkeys(metrics))) for key, (reason, metrics) in rows.items()],
        columns=["recipe", "seed", "clip_id", "reason", "metrics"],
    )
