"""The jobs of a run that is planned, with what each would take and waits for."""

from dataclasses import dataclass

from audioptq.estimate.measure import Costs

# On a GPU where there is one.
ON_GPU = ("calibrate", "generate", "embed_clips", "embed_captions")


@dataclass(frozen=True)
class Target:
    """The size of a run.

    Attributes:
        clips: Captions, a clip each per recipe and seed.
        recipes: Recipes, full precision among them.
        seeds: Seeds of each recipe; full precision gets one more, for the noise floor.
        steps: Denoising steps.
        clips_per_shard: Clips of a job.
        evaluators: Evaluator networks.
        metrics: Metrics.
        calibration_prompts: Prompts of the calibration.
        prompts_per_shard: Of these, in a job.
    """

    clips: int
    recipes: int
    seeds: int
    steps: int
    clips_per_shard: int
    evaluators: int
    metrics: int
    calibration_prompts: int
    prompts_per_shard: int


@dataclass(frozen=True)
class Job:
    """A job: its stage, its own work in seconds, and the numbers of the jobs that it waits for."""

    stage: str
    seconds: float
    needs: tuple[int, ...] = ()


def planned_jobs(target: Target, costs: Costs) -> list[Job]:
    """All jobs, those that others wait for before them: prompts, calibrate, quantize, generate, embed, score, report."""
    jobs: list[Job] = []

    def add(stage: str, size: int, needs: tuple[int, ...]) -> int:
        jobs.append(Job(stage, costs.stages[stage].of(size), needs))
        return len(jobs) - 1

    total = target.clips
    prompts = add("prompts", total, ())
    calibrated = [
        add("calibrate", min(target.prompts_per_shard, target.calibration_prompts - first) * target.steps, (prompts,))
        for first in range(0, target.calibration_prompts, target.prompts_per_shard)
    ]
    captions = add("embed_captions", total, (prompts,))
    scores = []
    for recipe in range(target.recipes):
        quantized = add("quantize", 1, tuple(calibrated))
        for _ in range(target.seeds + (recipe == 0)):
            shards, embedded = [], [captions]
            for first in range(0, total, target.clips_per_shard):
                size = min(target.clips_per_shard, total - first)
                shards.append(add("generate", size * target.steps, (quantized,)))
                embedded += [add("embed_clips", size, (shards[-1],)) for _ in range(target.evaluators)]
            scores += [add("score", total, (*shards, *embedded)) for _ in range(target.metrics)]
    add("report", total, tuple(scores))
    return jobs
