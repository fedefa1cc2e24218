rule embed_clips:
    input:
        code=embed_code,
        weights=evaluator_files,
        manifests=manifests_to_embed,
    output:
        f"{RESULTS}/embed/{{model}}/{{recipe}}/seed{{seed}}/{{embedder}}/shard-{{shard}}.safetensors",
    log:
        f"{LOGS}/embed/{{model}}/{{recipe}}/seed{{seed}}/{{embedder}}/shard-{{shard}}.log",
    resources:
        gpu=1,
    params:
        weights=evaluator_weights,
        variant=evaluator_variant,
    message:
        "embed the clips of {wildcards.recipe}, seed {wildcards.seed}, shard {wildcards.shard}, with {wildcards.embedder}"
    script:
        "../scripts/embed_clips.py"


rule embed_references:
    input:
        unpack(reference_manifest),
        code=embed_code,
        weights=evaluator_files,
        prompts=f"{RESULTS}/prompts/{{dataset}}.parquet",
    output:
        f"{RESULTS}/embed/references/{{dataset}}/{{embedder}}.safetensors",
    log:
        f"{LOGS}/embed/references/{{dataset}}/{{embedder}}.log",
    resources:
        gpu=1,
    params:
        weights=evaluator_weights,
        variant=evaluator_variant,
    message:
        "embed the references of {wildcards.dataset} with {wildcards.embedder}"
    script:
        "../scripts/embed_references.py"


rule published_references:
    input:
        code=library("published_references"),
        published=published_file,
        prompts=f"{RESULTS}/prompts/{{dataset}}.parquet",
    output:
        f"{RESULTS}/embed/published/{{dataset}}/{{embedder}}.safetensors",
    log:
        f"{LOGS}/embed/published/{{dataset}}/{{embedder}}.log",
    message:
        "convert the published statistics of {wildcards.dataset}'s references for {wildcards.embedder}"
    script:
        "../scripts/published_references.py"


rule embed_captions:
    input:
        code=embed_code,
        weights=evaluator_files,
        prompts=f"{RESULTS}/prompts/{{dataset}}.parquet",
    output:
        f"{RESULTS}/embed/captions/{{dataset}}/{{embedder}}.safetensors",
    log:
        f"{LOGS}/embed/captions/{{dataset}}/{{embedder}}.log",
    resources:
        gpu=1,
    params:
        weights=evaluator_weights,
        variant=evaluator_variant,
    message:
        "embed the captions of {wildcards.dataset} with {wildcards.embedder}"
    script:
        "../scripts/embed_captions.py"
