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
        clips_per_shard: Clips of a job of generation.
        clips_per_embedding: Clips of a job of embedding, in whole shards of generation.
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
    clips_per_embedding: int
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
        add("calibrate", size * target.steps, (prompts,))
        for size in _split(target.calibration_prompts, target.prompts_per_shard)
    ]
    captions = add("embed_captions", total, (prompts,))
    scores = []
    for recipe in range(target.recipes):
        quantized = add("quantize", 1, tuple(calibrated))
        for _ in range(target.seeds + (recipe == 0)):
            sizes = _split(total, target.clips_per_shard)
            shards = [add("generate", size * target.steps, (quantized,)) for size in sizes]
            embedded = [captions]
            n_together = max(target.clips_per_embedding // target.clips_per_shard, 1)
            for first in range(0, len(shards), n_together):
                size, needs = sum(sizes[first : first + n_together]), tuple(shards[first : first + n_together])
                embedded += [add("embed_clips", size, needs) for _ in range(target.evaluators)]
            scores += [add("score", total, (*shards, *embedded)) for _ in range(target.metrics)]
    add("report", total, tuple(scores))
    return jobs


def _split(total: int, per_shard: int) -> list[int]:
    """Sizes of the shards; the last one takes what is left."""
    return [min(per_shard, total - first) for first in range(0, total, per_shard)]
