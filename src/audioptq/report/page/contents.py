"""Everything that the page shows, gathered for the template."""

from collections.abc import Mapping
from typing import Any

from audioptq.report.figures.draw import Drawn
from audioptq.report.measure.caption_groups import caption_group_tables
from audioptq.report.measure.compare import NO_VERDICT
from audioptq.report.measure.inputs import ReportInputs, without_floor
from audioptq.report.measure.published import reproduction_tables, sources_note, warning
from audioptq.report.measure.results import Results
from audioptq.report.page import details, rows, sentences
from audioptq.report.page.details import dynamic_ranges
from audioptq.report.page.listen import SAMPLE_RATE, Example, build_examples, with_distances
from audioptq.report.page.render import inline_svg

SECTIONS = {
    "reproduction": "Against the publication",
    "table": "Results",
    "differences": "Against full precision",
    "captions": "By kind of caption",
    "size": "Quality against size",
    "listen": "Listen",
    "activations": "What makes it hard",
    "recipes": "Recipes",
    "excluded": "Excluded clips",
    "published": "Published values",
    "made": "How this was made",
}
RESULT_FIGURES = ("differences", "quality_against_size")
ACTIVATION_FIGURES = ("activation_map", "activation_range", "smoothing", "layers")


def table_note(inputs: ReportInputs, results: Results) -> str:
    """How to read the table."""
    parts = [
        f"Arrows point to the better side. In small type the {inputs.percent} interval: {inputs.n_replicates} "
        "bootstrap draws of clips, captions of one reference drawn together. Best in bold, second best underlined."
    ]
    if results.table["seconds_per_clip"].notna().any():
        has_interval = results.table["seconds_per_clip_low"].notna().any()
        parts.append(f"Time is the median over clips{', its interval of draws of batches' if has_interval else ''}.")
    if any(dynamic_ranges(layers, inputs.recipes[recipe] or {}) for recipe, layers in results.layers.items()):
        parts.append("A dynamic range per token is a range per clip in convolutions, whose input has no tokens.")
    return " ".join(parts)


def page_values(inputs: ReportInputs, results: Results, drawn: Mapping[str, Drawn]) -> dict[str, Any]:
    """The template's values.

    Raises:
        DamagedArtifactError: If a clip or a table of layers cannot be read.
    """
    table, metrics, comparisons = results.table, results.metrics, results.comparisons
    columns = {column.name: column for group in results.groups for column in group.columns}
    shown = {
        name: {"svg": inline_svg(figure.path), "alt": figure.alt, "caption": figure.caption}
        for name, figure in drawn.items()
    }
    examples, left_out = _examples(inputs, results)
    values: dict[str, Any] = {
        "title": inputs.title or f"What quantization costs {inputs.model}, and what it buys",
        "baseline": inputs.baseline,
        "percent": inputs.percent,
        "lead": sentences.lead(table, inputs.model, inputs.baseline),
        "warning": warning(results.reproductions, inputs.baseline),
        "cautions": sentences.cautions(table, metrics, inputs.noise_floor_seed),
        "reproduction": _reproduction(inputs, results),
        "findings": sentences.findings(table, comparisons, inputs.baseline),
        "table_note": table_note(inputs, results),
        "groups": rows.folded(results.groups),
        "published_lines": rows.published_lines(results.published, results.groups),
        "sources": sources_note(results.published),
        "rows": rows.result_rows(table, results.groups, comparisons, results.excluded, inputs.baseline),
        "verdicts": sentences.verdict_meanings() if (comparisons["verdict"] != NO_VERDICT).any() else [],
        "comparisons": rows.comparison_rows(comparisons, metrics, columns),
        "comparison_note": sentences.comparison_note(
            metrics, results.floors, comparisons, inputs.baseline, inputs.noise_floor_seed, inputs.percent
        )
        + sentences.bias_note(results.settings, metrics, inputs.baseline, inputs.noise_floor_seed),
        "caption_groups": caption_group_tables(
            results.prompts, without_floor(results.scores, inputs), metrics, table["recipe"].tolist()
        ),
        "figures": {name: shown.get(name) for name in RESULT_FIGURES},
        "activation_figures": [shown[name] for name in ACTIVATION_FIGURES if name in shown],
        "examples": examples,
        "listen_left_out": left_out,
        "listen_note": (
            f"The same prompt and noise through each recipe, {inputs.baseline} first. Mono copies at "
            f"{SAMPLE_RATE // 1000} kHz, 16 bit. Starting a clip stops the one before and goes on from the same moment."
        ),
        "recipes": _recipes(inputs, results),
        "excluded": _excluded(results),
        "published": details.published_rows(inputs.published),
        "facts": [*_counted(inputs, results), *details.flat_facts(inputs.facts)],
        "card": details.flat_facts(inputs.card),
    }
    present = {
        "reproduction": values["reproduction"],
        "captions": values["caption_groups"],
        "differences": values["comparisons"],
        "size": values["figures"]["quality_against_size"],
        "listen": examples or left_out,
        "activations": values["activation_figures"],
        "published": values["published"],
    }
    return {**values, "sections": [(anchor, name) for anchor, name in SECTIONS.items() if present.get(anchor, True)]}


def _reproduction(inputs: ReportInputs, results: Results) -> dict[str, Any] | None:
    """Whether full precision reproduces the published numbers; None without any of it."""
    if not results.reproductions:
        return None
    return {
        "tables": reproduction_tables(results.reproductions, results.decimals),
        "note": (
            f"Whether {inputs.baseline} is what others measured, before any recipe is judged. A number is reproduced if it "
            f"lies no farther from ours than half of our {inputs.percent} interval, or than another seed of "
            f"{inputs.baseline} does, whichever is farther."
        ),
    }


def _examples(inputs: ReportInputs, results: Results) -> tuple[list[Example], list[str]]:
    main = without_floor(results.manifest, inputs)
    seeds = main.loc[main["recipe"] == inputs.baseline, "seed"]
    if not inputs.listen or (inputs.listen_seed is None and seeds.empty):
        return [], []
    seed = int(seeds.min()) if inputs.listen_seed is None else inputs.listen_seed
    order = [inputs.baseline, *(recipe for recipe in inputs.recipes if recipe != inputs.baseline)]
    examples, left_out = build_examples(
        inputs.listen, results.prompts, results.manifest, order, seed, inputs.max_audio_bytes
    )
    return with_distances(examples, results.scores, results.metrics, seed), left_out


def _recipes(inputs: ReportInputs, results: Results) -> list[dict[str, Any]]:
    boxes, scores = [], without_floor(results.scores, inputs)
    for row in results.table.to_dict("records"):
        name = row["recipe"]
        boxes.append(
            details.recipe_details(
                name,
                inputs.recipes[name] or {},
                row,
                results.sizes.get(name),
                results.layers.get(name),
                scores[scores["recipe"] == name],
                results.metrics,
            )
        )
    return boxes


def _excluded(results: Results) -> list[dict[str, Any]]:
    captions = dict(zip(results.prompts["clip_id"], results.prompts["caption"], strict=True))
    return [{**row, "caption": captions.get(row["clip_id"], "")} for row in results.excluded.to_dict("records")]


def _counted(inputs: ReportInputs, results: Results) -> list[tuple[str, str]]:
    floor = "none" if inputs.noise_floor_seed is None else f"{inputs.baseline}, seed {inputs.noise_floor_seed}"
    seeds = "; ".join(dict.fromkeys(seeds for seeds in results.table["seeds"] if seeds))
    return [
        ("model", inputs.model),
        ("prompts", f"{len(results.prompts)} ({results.prompts['reference_id'].nunique()} references)"),
        ("seeds", seeds or "not stated"),
        ("noise floor", floor),
        ("intervals", f"{inputs.percent}, {inputs.n_replicates} draws, bootstrap seed {inputs.bootstrap_seed}"),
    ]
