# A blind listening test of the finished run, and what its answers show (docs/listening.md).
# Snakemake removes a rule's outputs before it runs it again, and a test that people are answering must not be removed: folder and
# key are no outputs. If they are there already, the job refuses, and says what to do.
rule listening_test:
    input:
        prompts=f"{RESULTS}/prompts/{DATASET}.parquet",
        manifests=[
            path
            for recipe, seed in PLAN.runs()
            for path in PLAN.manifests(MODEL, recipe, seed)
        ],
    output:
        touch(f"{RESULTS}/listening/test.built"),
    log:
        f"{LOGS}/listening_test.log",
    params:
        settings={**config.get("listening", {}), "model": MODEL},
    message:
        "listening_test: page and clips for listeners, and the key"
    script:
        "../scripts/listening_test.py"


rule listening_analysis:
    input:
        code=library("listening_analysis"),
        built=f"{RESULTS}/listening/test.built",
        answers=lambda wildcards: PLAN.listening_answers(),
    output:
        html=f"{RESULTS}/listening/report/listening.html",
        markdown=f"{RESULTS}/listening/report/listening.md",
        judgements=f"{RESULTS}/listening/report/judgements.parquet",
        record=f"{RESULTS}/listening/report/listening.json",
    log:
        f"{LOGS}/listening_analysis.log",
    params:
        key=f"{RESULTS}/listening/test.key.json",
    message:
        "listening_analysis: what the answers show"
    script:
        "../scripts/listening_analysis.py"
