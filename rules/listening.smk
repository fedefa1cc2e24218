# A blind listening test of the finished run, and what its answers show (docs/listening.md).
def listening_answers(wildcards):
    """Answers that have come in: what `audioptq listen serve` collected, and files that listeners sent."""
    places = (
        f"{RESULTS}/listening/test.answers.jsonl",
        f"{RESULTS}/listening/answers",
    )
    return [place for place in places if os.path.exists(place)]


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
        results=RESULTS,
        folder=f"{RESULTS}/listening/test",
        settings={**config.get("listening", {}), "model": MODEL},
    message:
        "listening_test: page and clips for listeners, and the key"
    script:
        "../scripts/listening_test.py"


rule listening_analysis:
    input:
        code=library("listening_analysis"),
        built=f"{RESULTS}/listening/test.built",
        answers=listening_answers,
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
