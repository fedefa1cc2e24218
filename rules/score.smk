# All metrics of a recipe and seed in one job; a file for each.
rule score:
    input:
        unpack(of_wildcards(PLAN.score_inputs)),
        code=library("score", *PLAN.metric_modules(library_files.PACKAGE)),
        prompts=f"{RESULTS}/prompts/{DATASET}.parquet",
    output:
        expand(
            f"{RESULTS}/score/{{model}}/{{recipe}}/seed{{seed}}/{{metric}}.parquet",
            metric=sorted(METRICS),
            allow_missing=True,
        ),
    log:
        f"{LOGS}/score/{{model}}/{{recipe}}/seed{{seed}}.log",
    params:
        # Another order of the columns scores nothing anew.
        metrics=sorted(METRICS),
        bootstrap=config["bootstrap"],
        # Not the seed itself: another one scores its own clips alone.
        across_seeds=lambda wildcards: (
            int(wildcards.seed) == config["generation"]["noise_floor_seed"]
        ),
    message:
        "score {wildcards.recipe}, seed {wildcards.seed}"
    script:
        "../scripts/score.py"
