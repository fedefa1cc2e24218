from snakemake.utils import min_version

min_version("9.0")


configfile: f"{workflow.basedir}/config.yaml"


# Rules run in the active environment (`make env`); the container names what a clean machine would need.
container: "docker://python:3.11-bookworm"


include: "rules/common.smk"
include: "rules/fetch.smk"
include: "rules/prompts.smk"
include: "rules/references.smk"
include: "rules/calibrate.smk"
include: "rules/quantize.smk"
include: "rules/generate.smk"
include: "rules/embed.smk"
include: "rules/score.smk"
include: "rules/report.smk"
include: "rules/listening.smk"
include: "rules/bench.smk"
include: "rules/train.smk"


report: "workflow/report/workflow.rst"


# Before any job: what has to be downloaded can be, and nobody else is at work on these results.
onstart:
    try:
        SOURCES.check_downloads(MODEL, PLAN.downloads())
        since = drivers.claim(RESULTS, log, config)
        snakemake_internals.record_unattended(workflow, since)
    except UserError as error:
        print(f"\nError: {error}\n", file=sys.stderr)
        sys.exit(1)
    scripts = snakemake_internals.repeated_scripts(workflow) if FORKSERVER else []
    if scripts:
        paths = [f"{workflow.basedir}/scripts/{script}" for script in scripts]
        forkserver.start(FORKSERVER, [*forkserver.SNAKEMAKE_MODULES, *paths])


onsuccess:
    drivers.release(RESULTS)


onerror:
    drivers.release(RESULTS)


# The table, its figures and the report: everything else is made on the way there.
rule all:
    default_target: True
    input:
        f"{RESULTS}/report/table.csv",
        f"{RESULTS}/report/report.html",
