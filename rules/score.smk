rule score:
    input:
        unpack(score_inputs),
        code=score_code,
        prompts=f"{RESULTS}/prompts/{DATASET}.parquet",
        manifests=manifests,
    output:
        f"{RESULTS}/score/{{model}}/{{recipe}}/seed{{seed}}/{{metric}}.parquet",
    log:
        f"{LOGS}/score/{{model}}/{{recipe}}/seed{{seed}}/{{metric}}.log",
    params:
        bootstrap=config["bootstrap"],
        noise_floor_seed=NOISE_FLOOR_SEED,
    message:
        "score {wildcards.recipe}, seed {wildcards.seed}: {wildcards.metric}"
    script:
        "../scripts/score.py"
