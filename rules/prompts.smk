rule prompts:
    input:
        code=library("prompts"),
        file=lambda wildcards: config["datasets"][wildcards.dataset].get("path", []),
        subset=lambda wildcards: config["datasets"][wildcards.dataset].get("subset")
        or [],
        audio=lambda wildcards: config["datasets"][wildcards.dataset].get(
            "reference_dir"
        )
        or [],
    output:
        prompts=f"{RESULTS}/prompts/{{dataset}}.parquet",
        calibration=f"{RESULTS}/prompts/{{dataset}}.calibration.parquet",
    log:
        f"{LOGS}/prompts/{{dataset}}.log",
    params:
        # Where references come from decides no prompt: other cookies must not make every clip anew.
        dataset=lambda wildcards: {
            key: value
            for key, value in config["datasets"][wildcards.dataset].items()
            if key not in ("audio", "published_references")
        },
        calibration={key: config["calibration"][key] for key in ("n_prompts", "seed")},
    message:
        "prompts: captions, references and the calibration subset of {wildcards.dataset}"
    script:
        "../scripts/prompts.py"
