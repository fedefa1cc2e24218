# A shard of the prompts at a time: ranges of all of them are the ranges of the shards' ranges.
rule calibrate:
    input:
        code=lambda wildcards: calibration_code(
            "calibrate", *SOURCES.family_modules(wildcards.model)
        ),
        model=of_wildcards(SOURCES.model_files),
        text_encoder=of_wildcards(SOURCES.text_encoder_files),
        prompts=f"{RESULTS}/prompts/{DATASET}.calibration.parquet",
    output:
        stats=f"{RESULTS}/calibrate/{{model}}/shard-{{shard}}.safetensors",
        map=f"{RESULTS}/calibrate/{{model}}/activation_map-{{shard}}.safetensors",
    log:
        f"{LOGS}/calibrate/{{model}}/shard-{{shard}}.log",
    threads: workflow.cores
    resources:
        gpu=1,
    params:
        sampler=config["sampler"],
        seed=config["calibration"]["seed"],
        batch_size=config["calibration"]["batch_size"],
        prompts_per_shard=config["calibration"]["prompts_per_shard"],
        statistics=STATISTICS,
    message:
        "calibrate {wildcards.model}, shard {wildcards.shard}: activation ranges per timestep and input channel"
    script:
        "../scripts/calibrate.py"


rule merge_calibration:
    input:
        code=calibration_code("merge_calibration"),
        shards=of_wildcards(PLAN.calibration_shards),
    output:
        f"{RESULTS}/calibrate/{{model}}/act_stats.safetensors",
    log:
        f"{LOGS}/merge_calibration/{{model}}.log",
    message:
        "calibrate {wildcards.model}: one set of ranges"
    script:
        "../scripts/merge_calibration.py"
