"""The evaluator that docs/adding-a-metric.md shows is saved as it stands there, and scores clips without another file edited."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
SCORE = """
import sys
from pathlib import Path
import pandas as pd
from audioptq.files.artifacts import write_tensors
from audioptq.audio.clips import write_clip
from audioptq.embed.run import embed_clips, load_evaluator
from audioptq.score.run import score_metrics
import numpy as np

folder, rng = Path(sys.argv[1]), np.random.default_rng(0)
evaluator = load_evaluator("log_mel", {})
rows = []
for index in range(6):
    record = write_clip(folder / f"{index}.flac", rng.standard_normal((2, 88200)) * 0.5 ** index, 44100, 24)
    rows.append({"clip_id": str(index), "path": record.path, "status": record.status})
for name, clips in {"generated": rows[::-1], "fp32": rows, "references": rows}.items():
    write_tensors(folder / name, *embed_clips("log_mel", evaluator, clips, name))
prompts = pd.DataFrame({"clip_id": [row["clip_id"] for row in rows], "reference_id": [row["clip_id"] for row in rows]})
files = {"generated": [folder / "generated"], "references": folder / "references", "fp32": [folder / "fp32"]}
scored = score_metrics(
    ["fd_log_mel", "fd_log_mel_fp32"], manifest=pd.DataFrame(rows), prompts=prompts, embeddings={"log_mel": files},
    n_replicates=10,
)
for table, metadata in scored.values():
    print(metadata["target"], metadata["n_scored"], abs(table["value"].iloc[0]) < 1e-6)
"""


@pytest.fixture
def project(tmp_path):
    """A copy of the project with the page's evaluator in its place."""
    page = (ROOT / "docs/adding-a-metric.md").read_text(encoding="utf-8")
    (code,) = [body for body in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "WEIGHTS" in body]
    for name in ("src", "scripts", "rules", "workflow", "models", "profiles", "Snakefile", "config.yaml"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copyfile
        copy(ROOT / name, tmp_path / name)
    (tmp_path / "src/audioptq/embed/log_mel.py").write_text(code, encoding="utf-8")
    return tmp_path


def run(project, *command):
    environment = {
        "PYTHONPATH": str(project / "src"),
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "HOME": str(project),
    }
    return subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True)


def test_the_page_s_evaluator_scores_clips(project):
    done = run(project, sys.executable, "-c", SCORE, str(project))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["reference 6 True", "fp32 6 True"]  # equal sets: their distance is zero


def test_the_workflow_plans_its_jobs(project):
    (project / "x.yaml").write_text(yaml.safe_dump({"metrics": ["fd_log_mel", "fd_log_mel_fp32"], "run": ["fp32"]}))
    done = run(project, "snakemake", "-n", "--quiet", "rules", "--configfile", "config.yaml", "x.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"embed_references +1", done.stdout + done.stderr)
