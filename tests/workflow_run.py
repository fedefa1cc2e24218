"""A working directory of the tiny workflow: what the tests that run Snakemake share."""

import re
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import yaml

REPOSITORY = Path(__file__).parents[1]
TIMING = [f"{name}{end}" for name in ("seconds_per_clip", "speedup") for end in ("", "_low", "_high")]


class Run:
    """One results folder and the configuration that fills it."""

    def __init__(self, folder: Path, **changes: object) -> None:
        self.folder = folder
        self.config = yaml.safe_load((REPOSITORY / "tests/config.tiny.yaml").read_text()) | {
            "results": "results",
            **changes,
        }
        (folder / "models").symlink_to(REPOSITORY / "models")

    def command(self, *arguments: str, cores: int = 2) -> list[str]:
        experiment = self.folder / "experiment.yaml"
        experiment.write_text(yaml.safe_dump(self.config))
        files = [str(REPOSITORY / "config.yaml"), str(experiment)]
        snakefile = ["snakemake", "--snakefile", str(REPOSITORY / "Snakefile"), "--directory", str(self.folder)]
        return [*snakefile, "--configfile", *files, "--cores", str(cores), *arguments]

    def __call__(self, *arguments: str, cores: int = 2) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.command(*arguments, cores=cores), capture_output=True, text=True, timeout=900)

    def planned(self) -> dict[str, int]:
        """Jobs that a run would start, by rule."""
        return planned_jobs(self("--dry-run").stdout)

    def table(self) -> pd.DataFrame:
        return pd.read_csv(self.folder / "results/report/table.csv")


def planned_jobs(output: str) -> dict[str, int]:
    """Jobs by rule, from the table that a dry run prints."""
    rows = re.findall(r"^(\w+) +(\d+)$", output, re.MULTILINE)
    return {rule: int(count) for rule, count in rows if rule not in ("total", "all")}


def copy_of(run: Run, folder: Path) -> Run:
    """A working directory like `run`, with all that was made there."""
    shutil.copytree(run.folder, folder, symlinks=True, dirs_exist_ok=True)
    (folder / "models").unlink()
    return Run(folder, **run.config)
