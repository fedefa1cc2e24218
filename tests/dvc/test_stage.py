"""What DVC needs of the repository: the one stage names what there is, and nothing names a machine."""

import configparser
import subprocess
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))


def test_the_stage_depends_on_all_that_the_workflow_reads() -> None:
    (stage,) = STAGES["stages"].values()
    assert all((ROOT / path).exists() for path in stage["deps"])
    includes = {"Snakefile", "rules", "scripts", "src/audioptq", "workflow"}
    assert includes <= set(stage["deps"])
    assert stage["params"] == [{"config.yaml": None}]


def test_outputs_survive_a_run_and_git_leaves_them_to_dvc() -> None:
    (stage,) = STAGES["stages"].values()
    outputs = {name: options for output in stage["outs"] for name, options in output.items()}
    # Without Snakemake's metadata a clone could not see that a parameter changed.
    assert set(outputs) == {"results", ".snakemake/metadata"}
    assert all(options == {"persist": True} for options in outputs.values())
    for path in outputs:  # DVC asks without a slash at the end, and writes to .gitignore if it is told no
        assert subprocess.run(["git", "check-ignore", "-q", "--no-index", path], cwd=ROOT).returncode == 0, path


def test_no_storage_is_configured() -> None:
    config = configparser.ConfigParser()
    config.read_string("\n".join(line.strip() for line in (ROOT / ".dvc/config").read_text().splitlines()))
    assert not any("remote" in section for section in config.sections())
    assert "/" not in (ROOT / ".dvc/config").read_text()


def test_no_two_recipes_share_a_section_of_the_config() -> None:
    # `dvc exp run -S` loses a value that is set under one name of a shared section.
    with (ROOT / "config.yaml").open(encoding="utf-8") as handle:
        assert not [event for event in yaml.parse(handle) if isinstance(event, yaml.AliasEvent)]
