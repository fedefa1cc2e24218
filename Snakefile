from snakemake.utils import min_version

min_version("9.0")


configfile: f"{workflow.basedir}/config.yaml"


# Rules run in the active environment (`make env`); the container names what a clean machine would need.
container: "docker://python:3.11-bookworm"


include: "rules/common.smk"
include: "rules/shards.smk"
include: "rules/cluster.smk"
include: "rules/start.smk"
include: "rules/files.smk"
include: "rules/access.smk"
include: "rules/fetch.smk"
include: "rules/prompts.smk"
include: "rules/references.smk"
include: "rules/calibrate.smk"
include: "rules/quantize.smk"
include: "rules/generate.smk"
include: "rules/embed.smk"
include: "rules/score.smk"
include: "rules/report.smk"
include: "rules/bench_files.smk"
include: "rules/bench.smk"
include: "rules/train.smk"


report: "workflow/report/workflow.rst"


# Before any job: what has to be downloaded can be, and nobody else is at work on these results.
onstart:
    try:
        check_downloads()
        record_unattended(since=cluster.claim(RESULTS, log, config))
    except UserError as error:
        print(f"\nError: {error}\n", file=sys.stderr)
        sys.exit(1)
    start_forkserver()


onsuccess:
    cluster.release(RESULTS)


onerror:
    cluster.release(RESULTS)


# The table, its figures and the report: everything else is made on the way there.
rule all:
    default_target: True
    input:
        f"{RESULTS}/report/table.csv",
        f"{RESULTS}/report/report.html",
