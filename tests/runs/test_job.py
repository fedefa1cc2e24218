"""A job's start: the collector rests during the imports, works during the job, and has nothing to do at the end."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = sorted((Path(__file__).parents[2] / "scripts").glob("*.py"))
JOB = """
import gc, sys
from audioptq.runs import job
import torch
assert not gc.isenabled()
with job.log(sys.argv[1], 2) as line:
    assert gc.isenabled()
    line(f"threads {torch.get_num_threads()}")
    cycle = [torch.ones(2)]
    cycle.append(cycle)
    del cycle
    assert gc.collect() > 0, "garbage of the job is found"
    kept = [[] for _ in range(1000)]
    gc.collect()
    before = gc.get_freeze_count()
assert gc.get_freeze_count() >= before + 1000
"""


def test_the_collector_rests_while_a_job_is_not_at_work(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    subprocess.run([sys.executable, "-c", JOB, str(log)], env={"PYTHONPATH": ":".join(sys.path)}, check=True)
    assert "threads 2" in log.read_text()


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_imports_the_job_before_all_that_takes_time(script: Path) -> None:
    body = ast.parse(script.read_text(encoding="utf-8")).body
    imports = [ast.unparse(node) for node in body if isinstance(node, ast.Import | ast.ImportFrom)]
    light = ("from pathlib", "from typing", "from collections", "import json", "import sys")
    assert next(line for line in imports if not line.startswith(light)) == "import audioptq.runs.job as job"


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_does_nothing_when_it_is_imported(script: Path) -> None:
    *body, last = ast.parse(script.read_text(encoding="utf-8")).body
    assert ast.unparse(last).startswith("if __name__ == '__main__':\n    with job.log(snakemake.log[0]")
    for node in body:
        kinds = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.Assign, ast.Expr, ast.If)
        assert isinstance(node, kinds)
        assert "snakemake" not in ast.unparse(node) or ast.unparse(node).startswith(("if TYPE_CHECKING", '"""'))
