"""The undisturbed run, and two plans at a time beside each other."""

import os
import re
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.plan import Plan
from tests.chaos.run_plan import Outcome, try_plan
from tests.slurm.conftest import cluster  # noqa: F401
from tests.workflow_run import Run

CHANGES = {"run": ["fp32", "w8a8_sqs", "w4a4_sqd_lora"], "metrics": ["clap_mini", "lsd_db"]}
OUTCOMES: dict[int, Outcome] = {}
AT_A_TIME = int(os.environ.get("CHAOS_AT_A_TIME", "2"))


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("chaos") / "undisturbed"
    folder.mkdir()
    run = Run(folder, **CHANGES)
    result = run()
    assert result.returncode == 0, result.stderr[-4000:]
    return run


def slurm_cluster(request: pytest.FixtureRequest) -> tuple[Any, str]:
    """The one-machine cluster, or None and why there is none."""
    try:
        return request.getfixturevalue("cluster"), ""
    except pytest.skip.Exception as reason:
        return None, str(reason)


@pytest.fixture(scope="session")
def outcome_of(request: pytest.FixtureRequest, undisturbed: Run) -> Iterator[Callable[[int], Outcome]]:
    """Waits for the plan of a seed; those of all selected tests are under way, two at a time."""
    seeds = [item.callspec.params["seed"] for item in request.session.items if "outcome_of" in item.fixturenames]
    parent: Path = undisturbed.folder.parent
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        futures: dict[int, Future[Outcome]] = {}
        for seed in seeds:
            plan = Plan.of(seed, list(undisturbed.config["run"]))
            cluster, why_not = slurm_cluster(request) if plan.on_slurm else (None, "")
            futures[seed] = pool.submit(try_plan, plan, undisturbed, parent / f"plan-{seed:05d}", cluster, why_not)
        yield lambda seed: OUTCOMES.setdefault(seed, futures[seed].result())
        for future in futures.values():
            future.cancel()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """A line for each plan."""
    seed = re.search(r"\[(\d+)\]$", report.nodeid)
    if report.when == "call" and seed and int(seed[1]) in OUTCOMES:
        print(f"\n{OUTCOMES[int(seed[1])]}", flush=True)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """A table of the plans by what went wrong in them."""
    if not OUTCOMES:
        return
    tried = [outcome for outcome in OUTCOMES.values() if not outcome.skipped]
    terminalreporter.section("plans by what went wrong")
    for kind in dict.fromkeys(kind for outcome in tried for kind in outcome.plan.kinds):
        with_it = [outcome for outcome in tried if kind in outcome.plan.kinds]
        passed = sum(not outcome.failure for outcome in with_it)
        terminalreporter.write_line(f"{kind:16}{len(with_it):4} plans{passed:4} passed")
    failed = [str(outcome.plan.seed) for outcome in tried if outcome.failure]
    skipped = len(OUTCOMES) - len(tried)
    terminalreporter.write_line(f"{len(tried)} plans, {len(failed)} failed, {skipped} skipped")
    if failed:
        terminalreporter.write_line(f"repeat with: CHAOS_SEEDS={','.join(failed)} make chaos")
