rule embed_clips:
    input:
        code=library("embed_clips"),
        weights=lambda wildcards: EVALUATORS[wildcards.embedder],
        manifests=manifests,
    output:
        f"{RESULTS}/embed/{{model}}/{{recipe}}/seed{{seed}}/{{embedder}}.safetensors",
    log:
        f"{LOGS}/embed/{{model}}/{{recipe}}/seed{{seed}}/{{embedder}}.log",
    resources:
        gpu=1,
    message:
        "embed the clips of {wildcards.recipe}, seed {wildcards.seed}, with {wildcards.embedder}"
    script:
        "../scripts/embed_clips.py"


rule embed_references:
    input:
        code=library("embed_references"),
        weights=lambda wildcards: EVALUATORS[wildcards.embedder],
        prompts=f"{RESULTS}/prompts/{{dataset}}.parquet",
    output:
        f"{RESULTS}/embed/references/{{dataset}}/{{embedder}}.safetensors",
    log:
        f"{LOGS}/embed/references/{{dataset}}/{{embedder}}.log",
    message:
        "embed the references of {wildcards.dataset} with {wildcards.embedder}"
    script:
        "../scripts/embed_references.py"


rule embed_captions:
    input:
        code=library("embed_captions"),
        weights=lambda wildcards: EVALUATORS[wildcards.embedder],
        prompts=f"{RESULTS}/prompts/{{dataset}}.parquet",
    output:
        f"{RESULTS}/embed/captions/{{dataset}}/{{embedder}}.safetensors",
    log:
        f"{LOGS}/embed/captions/{{dataset}}/{{embedder}}.log",
    message:
        "embed the captions of {wildcards.dataset} with {wildcards.embedder}"
    script:
        "../scripts/embed_captions.py"
