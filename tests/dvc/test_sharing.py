"""A lab shares a run by DVC: what was computed once is there in a clone, and a change there computes its chain alone."""

import filecmp
import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
NOT_THE_PROJECT = shutil.ignore_patterns(
    ".git", ".venv", ".*_cache", "results", "downloads", ".snakemake", "__pycache__", "tests"
)
# Two recipes, one metric, two clips of a second: as few jobs as a chain has.
SMALLER: dict[str, Any] = {
    "datasets": {"soundscapes": {"n_clips": 2, "seconds_total": 1.024}},
    "sampler": {"steps": 2},
    "generation": {"clips_per_shard": 2},
    "metrics": ["lsd_db"],
    "run": ["fp32", "w8a8_sqs"],
}
ALPHA = "recipes.w8a8_sqs.smoothing.alpha"

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Clone:
    """A working copy of the project whose own library is the one in use, as after `make env`."""

    folder: Path

    def __call__(self, *command: str) -> str:
        """Runs a command there; returns what it printed."""
        private = {name: str(self.folder.parent / "home") for name in ("HOME", "XDG_CONFIG_HOME", "DVC_SITE_CACHE_DIR")}
        environment = {**os.environ, **private, "PYTHONPATH": str(self.folder / "src")}
        done = subprocess.run(
            command, cwd=self.folder, env=environment, timeout=600, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-4000:]}"
        return done.stdout

    def setup(self, remote: Path) -> None:
        """Who works here and where the lab's storage is."""
        for key, value in {"user.name": "A. Collaborator", "user.email": "a@example.org"}.items():
            self("git", "config", key, value)
        self("dvc", "remote", "add", "--local", "--default", "lab", str(remote))


def merged(base: Any, changes: Any) -> Any:
    """Snakemake's merging of config files: mappings key by key, everything else replaced."""
    if not isinstance(base, dict) or not isinstance(changes, dict):
        return changes
    return base | {key: merged(base.get(key), value) for key, value in changes.items()}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """Where the run was computed, committed and pushed."""
    folder = tmp_path_factory.mktemp("lab") / "project"
    shutil.copytree(ROOT, folder, ignore=NOT_THE_PROJECT)
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    tiny = yaml.safe_load((ROOT / "tests/config.tiny.yaml").read_text())
    (folder / "config.yaml").write_text(yaml.safe_dump(merged(merged(config, tiny), SMALLER), sort_keys=False))
    stages = (folder / "dvc.yaml").read_text()
    assert "--cores all" in stages
    (folder / "dvc.yaml").write_text(stages.replace("--cores all", "--cores 2"))
    project = Clone(folder)
    project("git", "init", "--quiet")
    project.setup(folder.parent / "storage")
    project("git", "add", ".")
    project("git", "commit", "--quiet", "--message", "project")
    project("dvc", "repro")
    assert project("git", "status", "--short").split() == ["A", "dvc.lock"]  # no results, and no edits of .gitignore
    project("git", "commit", "--quiet", "--message", "results")
    project("dvc", "push")
    return project


@pytest.fixture(scope="module")
def clone(lab: Clone, tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A collaborator's copy, pulled; its files have the times of the pull, in the order that suits Snakemake least."""
    folder = tmp_path_factory.mktemp("collaborator") / "project"
    subprocess.run(["git", "clone", "--quiet", str(lab.folder), str(folder)], check=True)
    project = Clone(folder)
    project.setup(lab.folder.parent / "storage")
    project("dvc", "pull")
    for path in (*folder.glob("results/calibrate/**/*.safetensors"), *folder.glob("results/quantize/**/*.safetensors")):
        path.touch()
    return project


def planned_jobs(output: str) -> dict[str, int]:
    """Jobs by rule, from the table that Snakemake prints."""
    rows = re.findall(r"^(\w+) +(\d+)$", output, re.MULTILINE)
    return {rule: int(count) for rule, count in rows if rule not in ("total", "all")}


def test_what_was_computed_is_up_to_date_for_dvc(lab: Clone) -> None:
    assert "up to date" in lab("dvc", "status")
    assert "didn't change, skipping" in lab("dvc", "repro")


def test_a_clone_has_everything_without_computing(lab: Clone, clone: Clone) -> None:
    report = clone.folder / "results/report"
    names = ["table.csv", "report.html", "metrics.json"]
    assert filecmp.cmpfiles(lab.folder / "results/report", report, names, shallow=False)[0] == names
    assert len(list(clone.folder.glob("results/generate/**/*.flac"))) == 6  # two clips of two recipes, and another seed
    assert "up to date" in clone("dvc", "status")
    assert "Nothing to be done" in clone("snakemake", "--dry-run")


def test_figures_open_without_a_network(clone: Clone) -> None:
    clone("dvc", "plots", "show")
    page = clone.folder / "dvc_plots/index.html"
    images = re.findall(r'src="([^"]+)"', page.read_text())
    assert len(images) >= 2
    assert all((page.parent / image).is_file() for image in images)
    assert not re.search(r"<script|https?:", page.read_text())
    clone("git", "diff", "--exit-code")


def test_a_changed_alpha_computes_its_chain_alone_and_its_numbers_are_compared(clone: Clone) -> None:
    unchanged = clone.folder / "results/generate/mini/fp32/seed1000/shard-0000.parquet"
    before = unchanged.stat().st_mtime_ns
    output = clone("dvc", "exp", "run", "--name", "smoother", "--set-param", f"config.yaml:{ALPHA}=0.6")
    assert planned_jobs(output) == {"quantize": 1, "generate": 1, "score": 1, "report": 1}
    assert unchanged.stat().st_mtime_ns == before
    (parameters,) = json.loads(clone("dvc", "params", "diff", "--json")).values()
    assert {name: (value["old"], value["new"]) for name, value in parameters.items()} == {ALPHA: (0.5, 0.6)}
    (changes,) = json.loads(clone("dvc", "metrics", "diff", "--json")).values()
    changed = {name for name in changes if not name.endswith("seconds_per_clip")}
    assert changed == {"w8a8_sqs.lsd_db"}
    assert "smoother" in clone("dvc", "exp", "show", "--csv")
