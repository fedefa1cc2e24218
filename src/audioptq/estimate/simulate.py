"""A list scheduler in place of Snakemake's: when a run would end on so many GPUs or processors."""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

from audioptq.estimate.measure import Costs
from audioptq.estimate.plan import ON_GPU, Job


@dataclass(frozen=True)
class Estimate:
    """A run that was simulated.

    Attributes:
        seconds: From the first job to the last.
        work: Seconds of the jobs' own work, of all jobs together.
        overhead: Share of the machines' occupied time that is no job's own work.
        n_jobs: Jobs.
        longest_chain: Seconds that no number of machines undercuts.
    """

    seconds: float
    work: float
    overhead: float
    n_jobs: int
    longest_chain: float


def simulate(jobs: Sequence[Job], costs: Costs, cores: int, gpus: int = 0) -> Estimate:
    """Starts each job, in order, as soon as what it needs is there and a place is free.

    Args:
        jobs: Those that others wait for before them.
        costs: For the seconds that every job takes beside its own work.
        cores: Jobs at once.
        gpus: Of these, jobs at once of the stages that use a GPU; 0 where every job runs on processors.
    """
    extra = costs.start + costs.latency
    pools = {False: [0.0] * cores, True: [0.0] * gpus}
    ended, chain = [0.0] * len(jobs), [0.0] * len(jobs)
    waiting = [len(job.needs) for job in jobs]
    followers: list[list[int]] = [[] for _ in jobs]
    for number, job in enumerate(jobs):
        for need in job.needs:
            followers[need].append(number)
    ready = [(0.0, number) for number, count in enumerate(waiting) if count == 0]
    while ready:
        since, number = heapq.heappop(ready)
        job = jobs[number]
        pool = pools[bool(gpus) and job.stage in ON_GPU]
        ended[number] = max(since, heapq.heappop(pool)) + extra + job.seconds
        heapq.heappush(pool, ended[number])
        chain[number] = max((chain[need] for need in job.needs), default=0.0) + extra + job.seconds
        for follower in followers[number]:
            waiting[follower] -= 1
            if not waiting[follower]:
                heapq.heappush(ready, (max(ended[need] for need in jobs[follower].needs), follower))
    work = sum(job.seconds for job in jobs)
    busy = work + extra * len(jobs)
    return Estimate(max(ended), work, 1 - work / busy, len(jobs), max(chain))
