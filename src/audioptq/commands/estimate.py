"""`audioptq estimate`: how long a larger run would take."""

import argparse
import dataclasses

from audioptq.commands.arguments import whole_number
from audioptq.errors import UserError

COUNTS = (
    ("--clips", 4875, "captions"),
    ("--recipes", 7, "recipes, fp32 among them"),
    ("--seeds", 1, "seeds of each recipe"),
    ("--steps", 100, "denoising steps"),
    ("--clips-per-shard", 325, "clips of a job of generation"),
    ("--clips-per-embedding", 400, "clips of a job of embedding, in whole shards of generation"),
    ("--evaluators", 3, "evaluator networks"),
    ("--metrics", 5, "metrics"),
    ("--calibration-prompts", 50, "prompts of the calibration"),
    ("--prompts-per-shard", 10, "of these, in a job"),
)


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declares the arguments; the sizes are those of the paper unless they are given."""
    parser = commands.add_parser("estimate", help="how long a larger run would take on so many GPUs or processors")
    what = "`results` of finished runs; two of different sizes tell what grows with them"
    parser.add_argument("results", nargs="+", help=what)
    for option, default, what in COUNTS:
        parser.add_argument(option, type=whole_number, default=default, help=f"{what} (default: {default})")
    parser.add_argument(
        "--cores",
        type=whole_number,
        help="jobs at once where there is no GPU (default: the processors of this machine)",
    )
    parser.add_argument(
        "--gpus", type=whole_number, nargs="*", default=[], help="GPUs to reckon with, a line each, e.g. 1 8 64"
    )
    parser.add_argument(
        "--seconds-per-clip-step", type=float, help="of generation on the GPU in mind (default: as measured)"
    )
    parser.add_argument("--seconds-to-embed", type=float, help="per clip and evaluator (default: as measured)")
    parser.add_argument("--seconds-to-load", type=float, help="to load the model in each job (default: as measured)")
    parser.add_argument(
        "--start", type=float, help="seconds to start and end a job; a cluster's are not forked (default: as measured)"
    )
    parser.add_argument(
        "--latency", type=float, help="seconds between two jobs; a cluster's is larger (default: as measured)"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Prints what was measured, and a line per number of GPUs.

    Raises:
        UserError: If a folder holds no finished run.
    """
    import os

    from audioptq.estimate.measure import Cost, measure
    from audioptq.estimate.plan import Target, planned_jobs
    from audioptq.estimate.simulate import simulate
    from audioptq.runs.status.show import duration

    costs = measure(options.results)
    stages = dict(costs.stages)
    if options.seconds_to_embed is not None:
        stages["embed_clips"] = Cost(0.0, options.seconds_to_embed)
    load, clip_step = stages["generate"].fixed, stages["generate"].each
    load = load if options.seconds_to_load is None else options.seconds_to_load
    clip_step = clip_step if options.seconds_per_clip_step is None else options.seconds_per_clip_step
    latency = costs.latency if options.latency is None else options.latency
    start = costs.start if options.start is None else options.start
    if min(clip_step, latency, load, start) < 0:
        raise UserError(
            "Seconds cannot be negative: mend --seconds-per-clip-step, --seconds-to-load, --start or --latency."
        )
    stages["generate"] = Cost(load, clip_step)
    costs = dataclasses.replace(costs, stages=stages, start=start, latency=latency)
    print(f"a job takes {costs.start:.1f} s to start and end, and {latency:.1f} s until the next")
    for stage, cost in stages.items():
        unit = "a clip and step" if stage in ("calibrate", "generate") else "a clip"
        print(f"{stage:15} {cost.fixed:8.2f} s a job + {cost.each:.4f} s {unit}")
    target = Target(**{field.name: getattr(options, field.name) for field in dataclasses.fields(Target)})
    jobs = planned_jobs(target, costs)
    cores = options.cores or os.cpu_count() or 1
    for gpus in options.gpus or [0]:
        found = simulate(jobs, costs, max(cores, gpus), gpus)
        place = f"{gpus} GPUs" if gpus else f"{cores} jobs at once"
        print(
            f"{place}: {duration(found.seconds)} for {found.n_jobs} jobs, {found.overhead:.1%} overhead; "
            f"no less than {duration(found.longest_chain)} on any number"
        )
