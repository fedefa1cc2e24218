rule quantize:
    input:
        code=lambda wildcards: model_code(
            "quantize", wildcards.model, [wildcards.recipe]
        ),
        model=of_wildcards(SOURCES.model_files),
        stats=f"{RESULTS}/calibrate/{{model}}/act_stats.safetensors",
    output:
        weights=f"{RESULTS}/quantize/{{model}}/{{recipe}}/weights.safetensors",
        layers=f"{RESULTS}/quantize/{{model}}/{{recipe}}/layers.parquet",
        size=f"{RESULTS}/quantize/{{model}}/{{recipe}}/size.json",
    log:
        f"{LOGS}/quantize/{{model}}/{{recipe}}.log",
    params:
        recipe=lambda wildcards: config["recipes"][wildcards.recipe],
    message:
        "quantize {wildcards.model} with {wildcards.recipe}"
    script:
        "../scripts/quantize.py"
