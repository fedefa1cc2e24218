"""What is asked of Snakemake's objects; that they have it is seen by the tests that run Snakemake."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from audioptq.runs.snakemake_internals import may_fork, record_unattended, repeated_scripts


def job(script: str | None = None, output: Path | None = None) -> Any:
    return SimpleNamespace(rule=SimpleNamespace(script=script), output=[] if output is None else [str(output)])


@pytest.mark.parametrize(
    ("local", "touch", "expected"),
    [(True, False, ["score.py"]), (False, False, []), (True, True, [])],
    ids=["local", "cluster", "touch"],
)
def test_scripts_of_several_jobs_are_imported_once_where_jobs_run_here(
    local: bool, touch: bool, expected: list[str]
) -> None:
    jobs = [job("../scripts/score.py"), job("../scripts/score.py"), job("../scripts/report.py"), job()]
    workflow = SimpleNamespace(local_exec=local, touch=touch, dag=SimpleNamespace(needrun_jobs=lambda: jobs))
    assert repeated_scripts(workflow) == expected


@pytest.mark.parametrize(
    ("main", "method", "expected"), [(True, set(), True), (False, set(), False), (True, {"c"}, False)]
)
def test_jobs_of_a_container_or_of_a_job_are_not_forked(main: bool, method: set[str], expected: bool) -> None:
    settings = SimpleNamespace(deployment_method=method)
    assert may_fork(SimpleNamespace(is_main_process=main, deployment_settings=settings)) is expected


def test_only_what_a_killed_driver_s_jobs_have_finished_is_recorded(tmp_path: Path) -> None:
    names = ("old", "known", "to-run", "unattended")
    jobs = {name: job(output=tmp_path / name) for name in names}
    for name in names:
        (tmp_path / name).touch()
    os.utime(tmp_path / "old", (1, 1))
    jobs["absent"] = job(output=tmp_path / "absent")
    recorded: list[Any] = []
    workflow = SimpleNamespace(
        dag=SimpleNamespace(jobs=list(jobs.values()), needrun=lambda job: job is jobs["to-run"]),
        persistence=SimpleNamespace(has_metadata=lambda job: job is jobs["known"], finished=lambda job: job),
        async_run=recorded.append,
    )
    record_unattended(workflow, None)
    assert recorded == []
    record_unattended(workflow, 10.0)
    assert recorded == [jobs["unattended"]]
