# A blind listening test of the finished run, and what its answers show (docs/listening.md).
import shlex

LISTENING = config.get("listening", {})


def listening_answers(wildcards):
    """Answers that have come in: what `audioptq listen serve` collected, and files that listeners sent."""
    places = (
        f"{RESULTS}/listening/test.answers.jsonl",
        f"{RESULTS}/listening/answers",
    )
    return [place for place in places if os.path.exists(place)]


def listening_options():
    """The config's `listening` as options of `audioptq listen build`."""
    lists = [
        f"--{name} {' '.join(map(shlex.quote, LISTENING[name]))}"
        for name in ("recipes", "prompts")
        if LISTENING.get(name)
    ]
    names = ("mode", "n_prompts", "repeats", "seed", "title")
    return " ".join(
        lists
        + [
            f"--{name.replace('_', '-')} {shlex.quote(str(LISTENING[name]))}"
            for name in names
            if name in LISTENING
        ]
    )


# Snakemake removes a rule's outputs before it runs it again, and a test that people are answering must not be removed: folder and
# key are no outputs. If they are there already, the command refuses, and says what to do.
rule listening_test:
    input:
        prompts=f"{RESULTS}/prompts/{DATASET}.parquet",
        manifests=[
            path for recipe, seed in runs() for path in manifests_of(recipe, seed)
        ],
    output:
        touch(f"{RESULTS}/listening/test.built"),
    log:
        f"{LOGS}/listening_test.log",
    params:
        results=RESULTS,
        folder=f"{RESULTS}/listening/test",
        model=MODEL,
        options=listening_options(),
    message:
        "listening_test: page and clips for listeners, and the key"
    shell:
        "audioptq listen build {params.results:q} -o {params.folder:q} --model {params.model:q} {params.options} > {log:q} 2>&1"


rule listening_analysis:
    input:
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
        folder=f"{RESULTS}/listening/report",
    message:
        "listening_analysis: what the answers show"
    shell:
        "audioptq listen analyse {params.key:q} {input.answers:q} -o {params.folder:q} > {log:q} 2>&1"
