# How mini and its evaluators are made: snakemake --cores all train_mini. Nothing here runs otherwise: what ships lies in
# models/mini, which no rule declares as its output, so that a fresh clone never starts to train.
TRAIN = f"{RESULTS}/train/mini"
TRAINING = config["train_mini"]
N_CORPUS_SHARDS = TRAINING["corpus"]["shards"]


rule synthesise_corpus:
    input:
        code=library("synthesise_corpus"),
    output:
        f"{TRAIN}/corpus/train-{{corpus_shard}}.safetensors",
        f"{TRAIN}/corpus/train-{{corpus_shard}}.parquet",
    log:
        f"{LOGS}/train/corpus-{{corpus_shard}}.log",
    params:
        corpus=TRAINING["corpus"],
    message:
        "synthesise training corpus, shard {wildcards.corpus_shard}"
    script:
        "../scripts/synthesise_corpus.py"


rule train_network:
    input:
        code=library("train_network"),
        corpus=expand(
            f"{TRAIN}/corpus/train-{{index:02d}}.safetensors",
            index=range(N_CORPUS_SHARDS),
        ),
    output:
        f"{TRAIN}/networks/{{network}}.safetensors",
    log:
        f"{LOGS}/train/{{network}}.log",
    wildcard_constraints:
        network="dit|tagger|clap",
    resources:
        gpu=1,
    params:
        settings=lambda wildcards: TRAINING[wildcards.network],
        # Not an output: a killed training goes on from it.
        checkpoint=f"{TRAIN}/checkpoints/{{network}}.ckpt",
    message:
        "train {wildcards.network}"
    script:
        "../scripts/train_network.py"


rule model_card:
    input:
        code=library("model_card"),
        networks=expand(
            f"{TRAIN}/networks/{{network}}.safetensors",
            network=["dit", "tagger", "clap"],
        ),
    output:
        record=f"{TRAIN}/card.json",
        page=f"{TRAIN}/card.md",
    log:
        f"{LOGS}/train/card.log",
    threads: workflow.cores
    params:
        sampler=config["sampler"],
        training=TRAINING,
    message:
        "model card: measure mini and its evaluators on held-out captions"
    script:
        "../scripts/model_card.py"


rule train_mini:
    input:
        networks=expand(
            f"{TRAIN}/networks/{{network}}.safetensors",
            network=["dit", "tagger", "clap"],
        ),
        card=f"{TRAIN}/card.json",
        page=f"{TRAIN}/card.md",
    output:
        touch(f"{TRAIN}/published"),
    log:
        f"{LOGS}/train/publish.log",
    params:
        model=config["models"]["mini"]["path"],
    message:
        "publish mini to {params.model}"
    script:
        "../scripts/train_mini.py"
