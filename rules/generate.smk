# Clips and batch records lie beside the manifest and are no declared outputs: Snakemake deletes those of a failed job,
# and a killed shard shall keep its finished batches. The library takes back only what it made from the same inputs.
rule generate:
    input:
        code=lambda wildcards: model_code(
            "generate", wildcards.model, [wildcards.recipe]
        ),
        weights=f"{RESULTS}/quantize/{{model}}/{{recipe}}/weights.safetensors",
        text_encoder=of_wildcards(SOURCES.text_encoder_files),
        prompts=f"{RESULTS}/prompts/{DATASET}.parquet",
    output:
        f"{RESULTS}/generate/{{model}}/{{recipe}}/seed{{seed}}/shard-{{shard}}.parquet",
    log:
        f"{LOGS}/generate/{{model}}/{{recipe}}/seed{{seed}}/shard-{{shard}}.log",
    resources:
        gpu=1,
    params:
        sampler=config["sampler"],
        batch_size=config["generation"]["batch_size"],
        bit_depth=config["generation"]["bit_depth"],
        clips_per_shard=config["generation"]["clips_per_shard"],
        compute=config["generation"]["compute"],
    message:
        "generate {wildcards.recipe}, seed {wildcards.seed}, shard {wildcards.shard}"
    script:
        "../scripts/generate.py"
