"""What a killed driver left in Slurm's queue; Slurm's commands are stand-ins here, and real ones in tests/slurm."""

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from string import Template
from typing import Any

import pytest
import yaml
import yte

from audioptq.errors import UserError
from audioptq.files.artifacts import digest
from audioptq.runs import drivers, slurm

ROOT = Path(__file__).parents[2]
RUN_ID = "audioptq_1b2f1b82"
CONFIG = {"run": ["fp32"]}
SINCE = 1e9
DEAD = 2**22 + 1  # above the highest process number of Linux


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """`command(name, script)` puts a shell script in the place of a command; no other command of Slurm is there."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/bin")
    monkeypatch.chdir(tmp_path)

    def put(name: str, script: str) -> None:
        (folder / name).write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        (folder / name).chmod(0o755)

    return put


@pytest.fixture
def log(tmp_path: Path) -> list[str]:
    """Snakemake's log of a driver that runs on Slurm."""
    path = tmp_path / "snakemake.log"
    path.write_text(f"Building DAG of jobs...\nSLURM run ID: {RUN_ID}\n", encoding="utf-8")
    return [str(path)]


def left_by(pid: int, run_id: str | None = RUN_ID, results: str = "results/a") -> Path:
    """The record of an earlier driver."""
    driver = drivers.Driver(socket.gethostname(), pid, drivers._started(pid) or "1", run_id, digest(CONFIG), SINCE)
    path = drivers._record(results)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(vars(driver)), encoding="utf-8")
    return path


def test_a_driver_leaves_a_record_while_it_works(command: Callable[[str, str], None], log: list[str]) -> None:
    command("squeue", "true")
    drivers.claim("results/a", log, CONFIG)
    record = json.loads(drivers._record("results/a").read_text(encoding="utf-8"))
    assert (record["pid"], record["run_id"]) == (os.getpid(), RUN_ID)
    assert not drivers._record("results").exists()
    drivers.release("results/a")
    assert not drivers._record("results/a").exists()


def test_jobs_of_a_killed_driver_are_cancelled_and_waited_for(
    command: Callable[[str, str], None], log: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    left_by(DEAD, "audioptq_old")
    (tmp_path / "queue").write_text("7|RUNNING|rule_generate_mini\n8|PENDING|rule_generate_mini_2\n", encoding="utf-8")
    # The first question after scancel still finds a job that is on its way out.
    command(
        "squeue", '[ "$2" = --name=audioptq_old ] || exit 1\ncat queue; [ -e told ] && rm -f queue && touch queue; true'
    )
    command("scancel", 'echo "$@" > told')
    drivers.claim("results/a", log, CONFIG)
    assert (tmp_path / "told").read_text(encoding="utf-8") == "7 8\n"
    assert (tmp_path / "queue").read_text(encoding="utf-8") == ""
    printed = capsys.readouterr().err
    assert "results/a" in printed
    assert "7 (rule_generate_mini, running)" in printed


def test_jobs_that_do_not_end_are_named(
    command: Callable[[str, str], None], log: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    record = left_by(DEAD)
    monkeypatch.setattr(slurm, "SECONDS_TO_END", 0.0)
    command("squeue", "echo '7|COMPLETING|rule_generate'")
    command("scancel", "true")
    with pytest.raises(UserError, match=r"Slurm jobs 7 .* do not end"):
        drivers.claim("results/a", log, CONFIG)
    assert record.exists()


def test_a_driver_at_work_is_not_pushed_aside(command: Callable[[str, str], None], log: list[str]) -> None:
    command("squeue", "touch asked")
    left_by(os.getppid())
    with pytest.raises(UserError, match=rf"process {os.getppid()}\) is at work in results/a"):
        drivers.claim("results/a", log, CONFIG)
    assert not Path("asked").exists()
    drivers.claim("results/b", log, CONFIG)


def test_only_with_the_same_config_is_the_work_of_a_killed_driver_this_one_s(
    command: Callable[[str, str], None], log: list[str]
) -> None:
    command("squeue", "true")
    assert drivers.claim("results/a", log, CONFIG) is None
    left_by(DEAD)
    assert drivers.claim("results/a", log, CONFIG) == SINCE
    left_by(DEAD)
    assert drivers.claim("results/a", log, {"run": ["w8a8_sqd"]}) is None


@pytest.mark.parametrize("squeue", [None, "echo 'slurm_load_jobs error: Unable to contact controller' >&2; exit 1"])
def test_without_an_answer_of_slurm_nothing_starts(
    command: Callable[[str, str], None], log: list[str], squeue: str | None
) -> None:
    record = left_by(DEAD)
    if squeue is not None:
        command("squeue", squeue)
    with pytest.raises(UserError, match="squeue" if squeue is None else "Unable to contact") as caught:
        drivers.claim("results/a", log, CONFIG)
    assert str(record) in str(caught.value)
    record.unlink()
    drivers.claim("results/a", log, CONFIG)


@pytest.mark.parametrize(
    ("host", "pid", "locked", "expected"),
    [
        (
            None,
            os.getppid(),
            True,
            rf"process {os.getppid()} on .* is at work.*kill -INT {os.getppid()}.*Do not unlock",
        ),
        (None, os.getppid(), False, "is at work"),
        (None, DEAD, True, rf"process {DEAD} .*was killed.*--unlock"),
        (None, DEAD, False, "^$"),
        ("elsewhere", DEAD, True, rf"can be seen on elsewhere alone: `ssh elsewhere ps -p {DEAD}`.*--unlock"),
        ("elsewhere", DEAD, False, "^$"),
        (None, os.getpid(), True, "^$"),
    ],
    ids=["alive", "alive-unlocked", "killed", "killed-unlocked", "elsewhere", "elsewhere-unlocked", "itself"],
)
def test_a_lock_is_explained(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    host: str | None,
    pid: int,
    locked: bool,
    expected: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    drivers.explain("results/a", str(tmp_path))  # nobody has been here
    record = left_by(pid)
    if host is not None:
        record.write_text(
            json.dumps({**json.loads(record.read_text(encoding="utf-8")), "host": host}), encoding="utf-8"
        )
    if locked:
        drivers.LOCKS.mkdir()
        (drivers.LOCKS / "0.output.lock").touch()
    monkeypatch.chdir("/")
    drivers.explain("results/a", str(tmp_path))
    printed = capsys.readouterr().err
    assert re.search(expected, printed, re.DOTALL)
    assert ("results/a" in printed) == (expected != "^$")


def test_a_driver_without_slurm_asks_nothing_of_it(command: Callable[[str, str], None], tmp_path: Path) -> None:
    log = tmp_path / "local.log"
    log.write_text("Provided cores: 2\n", encoding="utf-8")
    left_by(DEAD, None)
    drivers.claim("results/a", [str(log)], CONFIG)
    assert json.loads(drivers._record("results/a").read_text(encoding="utf-8"))["run_id"] is None
    drivers.release("results/a")


def test_a_driver_that_gives_up_with_jobs_in_the_queue_leaves_them_to_the_next(
    command: Callable[[str, str], None], log: list[str]
) -> None:
    command("squeue", "true")
    drivers.claim("results/a", log, CONFIG)
    command("squeue", "echo '9|RUNNING|rule_generate'")
    drivers.release("results/a")
    assert [job.job_id for job in drivers.orphans("results/a")] == ["9"]
    command("squeue", "exit 1")
    drivers.release("results/a")  # a finished run does not fail for that
    assert drivers._record("results/a").exists()


@pytest.mark.parametrize(
    ("scontrol", "expected"),
    [
        ("echo 'AccountingStorageType   = accounting_storage/slurmdbd'", "sacct"),
        ("echo 'AccountingStorageType   = accounting_storage/none'", "squeue"),
        ("exit 1", "squeue"),
        (None, "squeue"),
    ],
    ids=["accounts", "no-accounts", "no-answer", "no-slurm"],
)
def test_status_is_asked_of_the_command_that_knows(
    command: Callable[[str, str], None], scontrol: str | None, expected: str
) -> None:
    if scontrol is not None:
        command("scontrol", scontrol)
    assert slurm.status_command() == expected


@pytest.fixture
def slurm_profile() -> dict[str, Any]:
    """The profile as Snakemake reads it."""
    with (ROOT / "profiles/slurm/config.yaml").open(encoding="utf-8") as file:
        return yte.process_yaml(file, require_use_yte=True)


def test_the_profile_keeps_what_the_default_one_says(slurm_profile: dict[str, Any]) -> None:
    default = yaml.safe_load((ROOT / "profiles/default/config.yaml").read_text(encoding="utf-8"))
    assert default.items() <= slurm_profile.items()


def test_every_rule_that_wants_a_gpu_goes_where_there_is_one(slurm_profile: dict[str, Any]) -> None:
    rules = "\n".join(path.read_text(encoding="utf-8") for path in ROOT.glob("rules/*.smk"))
    bodies = dict(re.findall(r"^rule (\w+):\n((?:    .*\n|\n)+)", rules, re.MULTILINE))
    assert len(bodies) > 10
    asked = slurm_profile["set-resources"]
    assert set(asked) <= set(bodies), "the profile names a rule that is gone"
    assert {rule for rule, body in bodies.items() if "gpu=1" in body} <= {
        rule for rule in asked if "gpu" in asked[rule]
    }
    assert {asked[rule]["slurm_partition"] for rule in asked if "gpu" in asked[rule]} == {"'gpu'"}
    assert {rule for rule, body in bodies.items() if "localrule: True" in body} == {
        "fetch_weights",
        "fetch_model",
        "references",
    }


def test_a_larger_shard_gets_more_time_and_not_more_memory(slurm_profile: dict[str, Any]) -> None:
    def asked(rule: str, name: str, clips: int, attempt: int) -> float:
        expression = Template(str(slurm_profile["set-resources"][rule][name]))
        return eval(
            expression.substitute(CLIPS_PER_SHARD=clips, CLIPS_PER_EMBEDDING=clips, SAMPLER_STEPS=100, N_METRICS=6),
            {"attempt": attempt},
        )

    assert asked("generate", "runtime", 250, 1) == pytest.approx(15 + 250 * 100 * 0.3 / 60)
    assert asked("score", "runtime", 250, 2) == 2 * 6 * 10
    for rule in ("generate", "embed_clips"):
        assert asked(rule, "runtime", 500, 1) > asked(rule, "runtime", 250, 1)
        assert asked(rule, "runtime", 250, 2) == 2 * asked(rule, "runtime", 250, 1)
        assert asked(rule, "mem_mb", 500, 1) == asked(rule, "mem_mb", 250, 1) == 16000
        assert asked(rule, "mem_mb", 250, 3) == 48000


def test_every_line_of_a_site_has_its_effect() -> None:
    text = (ROOT / "profiles/slurm/config.yaml").read_text(encoding="utf-8")
    site = yaml.safe_load(text)["__variables__"]
    below = text.partition("__definitions__")[2]
    for name in site:
        assert re.search(rf"\b{name}\b", below), name


@pytest.mark.slow
def test_the_documented_commands_plan_a_run(tmp_path: Path) -> None:
    page = (ROOT / "docs/cluster.md").read_text(encoding="utf-8")
    lines = [line for body in re.findall(r"```sh\n(.*?)```", page, re.DOTALL) for line in body.splitlines()]
    commands = {line for line in lines if line.startswith("snakemake")}
    assert len(commands) == 2
    (tmp_path / "models").symlink_to(ROOT / "models")
    for line in commands:
        words = [*shlex.split(line), *([] if "--unlock" in line else ["--dry-run"]), "--directory", str(tmp_path)]
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_a_second_driver_is_refused_and_what_jobs_of_a_killed_one_finished_is_recorded(tmp_path: Path) -> None:
    (tmp_path / "models").symlink_to(ROOT / "models")
    files = ["--configfile", str(ROOT / "config.yaml"), str(ROOT / "tests/config.tiny.yaml")]
    prompts, records = "results/prompts/soundscapes.parquet", tmp_path / ".snakemake/metadata"
    one_more = "results/embed/captions/soundscapes/clap_mini.safetensors"
    left = tmp_path / drivers._record("results")

    def command(*arguments: str) -> list[str]:
        return ["snakemake", "--directory", str(tmp_path), "--cores", "2", *files, *arguments]

    def snakemake(*arguments: str) -> str:
        done = subprocess.run(command(*arguments), cwd=ROOT, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    with (
        (tmp_path / "log").open("wb") as log,
        subprocess.Popen(command("--", prompts), cwd=ROOT, stdout=log, stderr=log) as driver,
    ):
        while not left.exists():
            assert driver.poll() is None, (tmp_path / "log").read_text(encoding="utf-8")
            time.sleep(0.01)
        record = json.loads(left.read_text(encoding="utf-8"))
        driver.send_signal(signal.SIGSTOP)  # it would be faster than the second
        try:
            second = subprocess.run(command("--", prompts), cwd=ROOT, capture_output=True, text=True, timeout=300)
        finally:
            driver.send_signal(signal.SIGCONT)
    assert second.returncode != 0
    assert f"(process {driver.pid} on" in second.stderr
    assert "is at work in results" in second.stderr
    assert (tmp_path / prompts).exists()
    assert not left.exists()
    for path in records.iterdir():
        path.unlink()  # as if the driver had been killed before it learnt of the job's end
    left.write_text(json.dumps({**record, "pid": DEAD}), encoding="utf-8")
    assert "provenance" in snakemake("--dry-run", "--", prompts, one_more)
    snakemake("--", prompts, one_more)
    assert "provenance" not in snakemake("--dry-run", "--", prompts, one_more)
