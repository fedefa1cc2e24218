# One driver at a time, and what a profile has to know of the config; no rules.
import atexit

from audioptq.runs import drivers as cluster

# Profiles reckon the time of a job from its size, and see no config.
os.environ.update(
    CLIPS_PER_SHARD=str(config["generation"]["clips_per_shard"]),
    CLIPS_PER_EMBEDDING=str(
        config["generation"]["clips_per_shard"] * manifests_embedded_at_once()
    ),
    SAMPLER_STEPS=str(config["sampler"]["steps"]),
)

# Below Snakemake's own words, which come when it cannot lock.
if workflow.is_main_process:
    atexit.register(cluster.explain, RESULTS, os.getcwd())


def record_unattended(since):
    """Notes how files were made that jobs of a killed driver have finished since then; Snakemake leaves that to the driver, and
    would see no later change of the config for them. Nothing to do if `since` is None.
    """
    for job in workflow.dag.jobs if since is not None else []:
        files = [file for file in job.output if os.path.exists(file)]
        is_unattended = files and min(map(os.path.getmtime, files)) >= since
        if (
            is_unattended
            and not workflow.dag.needrun(job)
            and not workflow.persistence.has_metadata(job)
        ):
            workflow.async_run(workflow.persistence.finished(job))
