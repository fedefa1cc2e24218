rule prompts:
    input:
        code=library("prompts"),
        file=lambda wildcards: config["datasets"][wildcards.dataset].get("path", []),
    output:
        prompts=f"{RESULTS}/prompts/{{dataset}}.parquet",
        calibration=f"{RESULTS}/prompts/{{dataset}}.calibration.parquet",
    log:
        f"{LOGS}/prompts/{{dataset}}.log",
    params:
        dataset=lambda wildcards: config["datasets"][wildcards.dataset],
        calibration={key: config["calibration"][key] for key in ("n_prompts", "seed")},
    message:
        "prompts: captions, references and the calibration subset of {wildcards.dataset}"
    script:
        "../scripts/prompts.py"
