"""Rule report: gathers what the run produced and builds the table, the figures and the page."""

from pathlib import Path
from typing import TYPE_CHECKING

from audioptq.audio.manifest import by_recipe, compute_by_recipe
from audioptq.files.artifacts import read_json
from audioptq.report.measure.inputs import ReportInputs
from audioptq.report.page.details import run_facts, spread
from audioptq.report.run import build_report
from audioptq.runs import job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

if __name__ == "__main__":
    with job.log(snakemake.log[0]) as log:
        files, params = snakemake.input, snakemake.params
        recipes = list(params.recipes)
        card = Path(params.model_path) / "card.json"
        manifests = by_recipe(files.manifests)
        inputs = ReportInputs(
            model=params.model,
            recipes=params.recipes,
            scores=files.scores,
            prompts=files.prompts,
            manifests=manifests,
            sizes=dict(zip(recipes, files.sizes, strict=True)),
            layers=dict(zip(recipes, files.layers, strict=True)),
            compute=compute_by_recipe(manifests),
            noise_floor_seed=params.noise_floor_seed,
            act_stats=files.stats,
            activation_map=files.map,
            listen=spread(files.prompts, params.report["listen_prompts"]),
            card=read_json(card, foreign=True) if card.exists() else {},
            published=params.report.get("published", ()),
            facts=run_facts(params.sampler, params.dataset, params.fact_manifests),
            title=params.report.get("title", ""),
            n_replicates=params.bootstrap["replicates"],
            bootstrap_seed=params.bootstrap["seed"],
        )
        table = build_report(inputs, Path(snakemake.output.table).parent)
        log(f"{len(table)} recipes")
        print(Path(snakemake.output.markdown).read_text(encoding="utf-8"))
