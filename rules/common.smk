# Validation, wildcard constraints and helpers; no rules.
import os
import sys
from functools import cache

from audioptq.evaluators import evaluator_info, evaluators
from audioptq.runs.config_check import check_config, check_files
from audioptq.console import DRIVER_VARIABLE
from audioptq.errors import UserError
from audioptq.fetch.weights import weights_entries
from audioptq.runs.library_files import PACKAGE, library_files
from audioptq.prompts.dataset import count_clips
from audioptq.score.table import metric_info

# Jobs end with the process that started them.
os.environ[DRIVER_VARIABLE] = str(os.getpid())

WEIGHTS_TABLE = f"{workflow.basedir}/workflow/weights.tsv"

try:
    check_config(config, f"{workflow.basedir}/workflow/schemas/config.schema.yaml")
    N_CLIPS = count_clips(config["datasets"][config["dataset"]])
    WEIGHTS = weights_entries(WEIGHTS_TABLE)
    check_files(config, WEIGHTS)
except UserError as error:
    # A user's mistake gets its paragraph, not a traceback.
    print(f"\nError: {error}\n", file=sys.stderr)
    sys.exit(1)

RESULTS = config["results"]
LOGS = f"{RESULTS}/logs"
MODEL = config["model"]
DATASET = config["dataset"]
DOWNLOADS = config["downloads"]
SEEDS = config["generation"]["seeds"]
NOISE_FLOOR_SEED = config["generation"]["noise_floor_seed"]
BASELINE = "fp32"


wildcard_constraints:
    model="|".join(config["models"]),
    dataset="|".join(config["datasets"]),
    recipe="|".join(config["recipes"]),
    metric="|".join(config["metrics"]),
    embedder="|".join(evaluators()),
    seed="[0-9]+",
    shard="[0-9]{4}",


def relative(paths):
    """Paths counted from the working directory, so that a clone that is moved has the same inputs as before."""
    return sorted({os.path.relpath(path) for path in paths})


@cache
def library(script, *modules):
    """Library files that a script uses, with `modules` that it imports by name; as inputs, an edit of one reruns the rule."""
    entries = [f"{workflow.basedir}/scripts/{script}.py", *modules]
    return relative(
        [*modules, *(file for entry in entries for file in library_files(entry))]
    )


def score_code(wildcards):
    """Library files behind one metric; its module is imported by name, so no import statement leads to it."""
    return library(
        "score",
        PACKAGE.joinpath(
            "score", *metric_info(wildcards.metric).module.split(".")
        ).with_suffix(".py"),
    )


def score_inputs(wildcards):
    """What a metric compares: embeddings of clips and of their target, or the manifests of full precision."""
    info = metric_info(wildcards.metric)
    if info.embedder is None:
        return {"baseline": baseline_manifests(wildcards)}
    if info.target == "fp32":
        return {
            "generated": embedded(wildcards, info.embedder),
            "target": embedded(baseline_of(wildcards), info.embedder),
        }
    folder = "captions" if info.target == "prompt" else references_of(info.embedder)
    return {
        "generated": embedded(wildcards, info.embedder),
        "target": f"{RESULTS}/embed/{folder}/{DATASET}/{info.embedder}.safetensors",
    }


def runs():
    """Every (recipe, seed) that is generated: all recipes with all seeds, and full precision with one seed more."""
    return [(recipe, seed) for recipe in config["run"] for seed in SEEDS] + [
        (BASELINE, NOISE_FLOOR_SEED)
    ]


def scored_metrics():
    """Selected metrics, without those that need references if the data set has none for their evaluator."""
    infos = {metric: metric_info(metric) for metric in config["metrics"]}
    return [
        metric
        for metric, info in infos.items()
        if info.target != "reference" or references_of(info.embedder)
    ]
