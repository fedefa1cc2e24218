"""Rule report: gathers what the run produced and builds the table, the figures and the page."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import audioptq.runs.job as job
from audioptq.audio.manifest import by_recipe, compute_by_recipe
from audioptq.files.artifacts import read_json
from audioptq.report.measure.inputs import ReportInputs
from audioptq.report.page.details import run_facts, spread
from audioptq.report.run import build_report

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def gather(
    files: Mapping[str, Any],
    *,
    model: str,
    model_folder: str,
    recipes: Mapping[str, Any],
    report: Mapping[str, Any],
    sampler: Mapping[str, Any],
    bootstrap: Mapping[str, int],
    margins: Mapping[str, Any],
    dataset: str,
    fact_manifests: Sequence[str],
    noise_floor_seed: int,
) -> ReportInputs:
    """What a report is made from.

    Args:
        files: `prompts`, `stats`, `map`; `sizes` and `layers` in the order of `recipes`; `manifests` and `scores`.
        model: Its name.
        model_folder: Where a card of the model may lie.
        recipes: Entries of the config, in the order of the rows.
        report: The config's.
        sampler: The config's.
        bootstrap: `replicates` and `seed`.
        margins: The config's `verdicts.margins`.
        dataset: Name of the data set.
        fact_manifests: Those from which the page says how and where the run was made.
        noise_floor_seed: Seed of full precision that is no row.
    """
    card = Path(model_folder) / "card.json"
    manifests = by_recipe(files["manifests"])
    return ReportInputs(
        model=model,
        recipes=recipes,
        scores=files["scores"],
        prompts=files["prompts"],
        manifests=manifests,
        sizes=dict(zip(recipes, files["sizes"], strict=True)),
        layers=dict(zip(recipes, files["layers"], strict=True)),
        compute=compute_by_recipe(manifests),
        noise_floor_seed=noise_floor_seed,
        act_stats=files["stats"],
        activation_map=files["map"],
        listen=spread(files["prompts"], report["listen_prompts"]),
        card=read_json(card, foreign=True) if card.exists() else {},
        published=report.get("published", ()),
        facts=run_facts(sampler, dataset, fact_manifests),
        title=report.get("title", ""),
        n_replicates=bootstrap["replicates"],
        bootstrap_seed=bootstrap["seed"],
        margins=margins,
    )


if __name__ == "__main__":
    with job.log(snakemake.log[0]) as log:
        output = snakemake.output
        inputs = gather(dict(snakemake.input.items()), **dict(snakemake.params.items()))
        log(f"{len(build_report(inputs, Path(output.table).parent))} recipes")
        print(Path(output.markdown).read_text(encoding="utf-8"))
