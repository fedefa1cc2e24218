"""Builds the whole report from its inputs: the only function that the workflow calls."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from audioptq.errors import UserError
from audioptq.files.artifacts import read_json, read_parquet, write_json, write_parquet, write_text
from audioptq.quantize.recipe.recipe import QuantRecipe
from audioptq.report.figures.draw import draw_figures
from audioptq.report.measure.aggregate import Plan
from audioptq.report.measure.compare import Comparison
from audioptq.report.measure.inputs import ReportInputs, excluded_clips, read_manifests, read_scores, without_floor
from audioptq.report.measure.metrics_json import main_numbers
from audioptq.report.measure.published import read_published, reproductions, summary, warning
from audioptq.report.measure.results import Results
from audioptq.report.measure.table import RecipeRow, build_table, to_csv
from audioptq.report.page.contents import page_values, table_note
from audioptq.report.page.formats import measured_groups, to_latex, to_markdown
from audioptq.report.page.render import render_page
from audioptq.report.page.sentences import cautions


def build_report(inputs: ReportInputs, output_dir: str | Path) -> pd.DataFrame:
    """Writes `table.csv`, `.md` and `.tex`, `comparisons.csv`, `metrics.json`, `scores.parquet`, `figures/*.svg` and `report.html`.

    Returns:
        The table.

    Raises:
        UserError: If an input is damaged, contradicts another, or the baseline is absent.
    """
    output_dir = Path(output_dir)
    results = gather(inputs)
    table, groups = results.table, results.groups
    published = results.published
    note = " ".join([table_note(inputs, results), *cautions(table, results.metrics, inputs.noise_floor_seed)])
    found, baseline = results.reproductions, inputs.baseline
    head = list(filter(None, [summary(found, results.decimals, baseline), warning(found, baseline)]))
    write_text(output_dir / "table.csv", to_csv(table))
    write_text(output_dir / "comparisons.csv", to_csv(results.comparisons))
    write_json(output_dir / "metrics.json", main_numbers(table, results.metrics), sealed=False)
    write_text(output_dir / "table.md", to_markdown(table, groups, inputs.baseline, note, published, head))
    write_text(output_dir / "table.tex", to_latex(table, groups, inputs.baseline, " ".join([*head, note]), published))
    write_parquet(output_dir / "scores.parquet", results.scores, {"model": inputs.model, "n_files": len(inputs.scores)})
    figures = draw_figures(inputs, results, output_dir / "figures")
    write_text(output_dir / "report.html", render_page(page_values(inputs, results, figures)))
    return table


def gather(inputs: ReportInputs) -> Results:
    """Reads everything and computes the table and the comparisons.

    Raises:
        UserError: As `build_report`.
    """
    if inputs.baseline not in inputs.recipes:
        raise UserError(
            f"The baseline recipe {inputs.baseline!r} is not among the recipes of the report "
            f"({', '.join(inputs.recipes)}). Add it to the list of recipes: ratios and differences refer to it."
        )
    prompts, _ = read_parquet(inputs.prompts, ("clip_id", "caption", "reference_id"))
    prompts["listed_in"] = str(inputs.prompts)
    _check_listen(prompts, inputs)
    scores, metrics = read_scores(inputs.scores)
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
    comparison = Comparison(scores, metrics, inputs.baseline, inputs.noise_floor_seed, plan)
    published = read_published(inputs.published)
    return Results(
        prompts=prompts,
        scores=scores,
        manifest=manifest,
        metrics=metrics,
        sizes=sizes,
        table=table,
        floors=comparison.floors,
        comparisons=comparison.frame(list(inputs.recipes)),
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
