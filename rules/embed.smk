# One job embeds with every evaluator, one after another. A file that is current is taken back (audioptq.embed.cache), so that a new
# evaluator, or an edit of one, embeds with that one alone.
REFERENCE_EMBEDDERS = PLAN.embedders("references")
CAPTION_EMBEDDERS = PLAN.embedders("captions")


rule embed_clips:
    input:
        **evaluator_code("embed_clips", EMBEDDERS),
        **PLAN.evaluator_weights(EMBEDDERS),
        manifests=of_wildcards(PLAN.manifests_to_embed),
    output:
        expand(
            f"{RESULTS}/embed/{{model}}/{{recipe}}/seed{{seed}}/{{embedder}}/shard-{{shard}}.safetensors",
            # A rule must have outputs, also where no metric asks for one.
            embedder=EMBEDDERS or ["none"],
            allow_missing=True,
        ),
    log:
        f"{LOGS}/embed/{{model}}/{{recipe}}/seed{{seed}}/shard-{{shard}}.log",
    resources:
        gpu=1,
    params:
        evaluators=PLAN.evaluator_params(EMBEDDERS),
    message:
        "embed the clips of {wildcards.recipe}, seed {wildcards.seed}, shard {wildcards.shard}"
    script:
        "../scripts/embed_clips.py"


rule embed_references:
    input:
        **evaluator_code("embed_references", REFERENCE_EMBEDDERS),
        **PLAN.evaluator_weights(REFERENCE_EMBEDDERS),
        # Of references that are downloaded.
        references=(
            f"{RESULTS}/references/{DATASET}/manifest.parquet"
            if config["datasets"][DATASET].get("audio")
            else []
        ),
        prompts=f"{RESULTS}/prompts/{DATASET}.parquet",
    output:
        expand(
            f"{RESULTS}/embed/references/{DATASET}/{{embedder}}.safetensors",
            embedder=REFERENCE_EMBEDDERS,
        ),
    log:
        f"{LOGS}/embed/references/{DATASET}.log",
    resources:
        gpu=1,
    params:
        evaluators=PLAN.evaluator_params(REFERENCE_EMBEDDERS),
    message:
        f"embed the references of {DATASET}"
    script:
        "../scripts/embed_references.py"


rule published_references:
    input:
        code=library("published_references"),
        published=of_wildcards(SOURCES.published_file),
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
        **evaluator_code("embed_captions", CAPTION_EMBEDDERS),
        **PLAN.evaluator_weights(CAPTION_EMBEDDERS),
        prompts=f"{RESULTS}/prompts/{DATASET}.parquet",
    output:
        expand(
            f"{RESULTS}/embed/captions/{DATASET}/{{embedder}}.safetensors",
            embedder=CAPTION_EMBEDDERS,
        ),
    log:
        f"{LOGS}/embed/captions/{DATASET}.log",
    resources:
        gpu=1,
    params:
        evaluators=PLAN.evaluator_params(CAPTION_EMBEDDERS),
    message:
        f"embed the captions of {DATASET}"
    script:
        "../scripts/embed_captions.py"
