# Validation, wildcard constraints, and the binding of wildcards; what a run makes is audioptq.runs.plan's to answer.
import atexit
import inspect
import os
import sys

from audioptq.console import DRIVER_VARIABLE
from audioptq.errors import UserError
from audioptq.evaluators import evaluator_info, evaluators
from audioptq.fetch.weights import weights_entries
from audioptq.prompts.dataset import count_clips
from audioptq.quantize.recipe.recipe import QuantRecipe
from audioptq.runs import drivers, forkserver, library_files, snakemake_internals
from audioptq.runs.config_check import check_config, check_files
from audioptq.runs.plan import BASELINE, Plan
from audioptq.runs.sources import Sources

WEIGHTS_TABLE = f"{workflow.basedir}/workflow/weights.tsv"

try:
    check_config(config, f"{workflow.basedir}/workflow/schemas/config.schema.yaml")
    N_CLIPS = count_clips(config["datasets"][config["dataset"]])
    WEIGHTS = weights_entries(WEIGHTS_TABLE)
    check_files(config, WEIGHTS)
    SOURCES = Sources(config, WEIGHTS)
    SOURCES.model_files(config["model"])
    PLAN = Plan(config, N_CLIPS, SOURCES)
    METRICS = list(PLAN.metrics())
except UserError as error:
    # A user's mistake gets its paragraph, not a traceback.
    print(f"\nError: {error}\n", file=sys.stderr)
    sys.exit(1)

RECIPES = {
    name: QuantRecipe.from_config(name, entry)
    for name, entry in config["recipes"].items()
}

RESULTS = config["results"]
LOGS = f"{RESULTS}/logs"
MODEL = config["model"]
DATASET = config["dataset"]
DOWNLOADS = config["downloads"]
EMBEDDERS = PLAN.embedders()
# The report draws the ranges whatever the recipes ask for.
STATISTICS = sorted(
    {"range"}.union(*(RECIPES[recipe].needs() for recipe in config["run"]))
)

# Jobs end with the process that started them, and profiles see no config.
os.environ.update({DRIVER_VARIABLE: str(os.getpid()), **PLAN.sizes()})

# Below Snakemake's own words, which come when it cannot lock.
if snakemake_internals.is_driver(workflow):
    atexit.register(drivers.explain, RESULTS, os.getcwd())

# Jobs on this machine are forked from one process that has imported what they need (docs/decisions/0010-forked-jobs.md). The prefix
# takes scripts alone: a shell command of several words or lines would not survive it.
FORKSERVER = (
    forkserver.new_address()
    if forkserver.can_fork() and snakemake_internals.may_fork(workflow)
    else None
)
if FORKSERVER:
    command = forkserver.prefix(FORKSERVER).replace("{", "{{").replace("}", "}}")
    shell.prefix(f"set -euo pipefail; {command}")


wildcard_constraints:
    model="|".join(config["models"]),
    dataset="|".join(config["datasets"]),
    recipe="|".join(config["recipes"]),
    embedder="|".join(evaluators()),
    seed="[0-9]+",
    shard="[0-9]{4}",


def of_wildcards(function):
    """`function` as an input function: its arguments are the wildcards of their names."""
    names = list(inspect.signature(function).parameters)
    return lambda wildcards: function(*(wildcards[name] for name in names))


def library(script, *modules):
    """Library files that a script uses, with `modules` that it imports by name; as inputs, an edit of one reruns the rule."""
    return library_files.code_inputs(
        f"{workflow.basedir}/scripts/{script}.py", *modules
    )


def model_code(script, model, recipes):
    """The script's library files, those of the model's family, and the roundings and statistics that recipes choose."""
    chosen = library_files.recipe_modules(RECIPES[name] for name in recipes)
    return library(script, *SOURCES.family_modules(model), *chosen)


def calibration_code(script, *modules):
    """The script's library files, and those of the statistics that are collected: a rounding has no part in calibration."""
    return library(script, *modules, *library_files.statistic_modules(STATISTICS))


def evaluator_code(script, embedders):
    """The script's library files; those behind every embedding; and those of each evaluator alone."""
    shared = library_files.code_inputs(library_files.PACKAGE / "embed" / "to_file.py")
    files = {
        name: library_files.code_inputs(evaluator_info(name).path) for name in embedders
    }
    own = {f"code_{name}": sorted({*files[name]} - {*shared}) for name in embedders}
    return {"code": library(script), "code_shared": shared, **own}
