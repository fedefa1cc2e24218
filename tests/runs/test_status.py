"""What `audioptq status` says of made-up runs: finished, half-way, paused, damaged, failed."""

import os
import time
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from audioptq.cli import main
from audioptq.errors import UserError
from audioptq.files.artifacts import digest, read_parquet, write_parquet, write_text
from audioptq.runs.status.clips import ClipSet
from audioptq.runs.status.run import run_status
from audioptq.runs.status.show import as_lines, as_table, duration

RECIPE = {"weight": {"bits": 8}}
N_PROMPTS = 20


def clips(n: int = 5, seconds: float = 1.0, **failures: int) -> pd.DataFrame:
    """Rows of a manifest: `n` clips, of which some are no sound."""
    statuses = [kind for kind, count in failures.items() for _ in range(count)]
    statuses += ["ok"] * (n - len(statuses))
    return pd.DataFrame(
        {"clip_id": map(str, range(n)), "caption": "a dog barks", "status": statuses, "seconds": seconds}
    )


class Run:
    """A folder in which snakemake was started, with one recipe, quantized an hour ago."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.results = folder / "results"
        write_parquet(self.results / "prompts/set.parquet", clips(N_PROMPTS), {})
        write_parquet(self.results / "prompts/set.calibration.parquet", clips(3), {})
        self.quantize()

    def quantize(self, recipe: str = "w8a8") -> None:
        folder = self.results / "quantize/mini" / recipe
        write_parquet(folder / "layers.parquet", clips(1), {"recipe": RECIPE})
        write_text(folder / "weights.safetensors", "weights")
        self.age(folder / "weights.safetensors", 3600)

    def age(self, path: Path, seconds: float) -> None:
        os.utime(path, (time.time() - seconds,) * 2)

    def shard(self, index: int, rows: pd.DataFrame, recipe: str = "w8a8", config: object = RECIPE) -> Path:
        path = self.results / f"generate/mini/{recipe}/seed7/shard-{index:04d}.parquet"
        write_parquet(path, rows, {"made_from": {"recipe": digest(config)}})
        return path

    def batch(self, shard: int, index: int, seconds_ago: float, rows: pd.DataFrame, recipe: str = "w8a8") -> Path:
        clips_dir = self.results / f"generate/mini/{recipe}/seed7/clips"
        path = clips_dir / f"shard-{shard:04d}-batch-{index:03d}.parquet"
        write_parquet(path, rows, {"fingerprint": "f"})
        self.age(path, seconds_ago)
        return path

    def driver_log(self, text: str, name: str = "2026-01-01T000000.000000") -> None:
        write_text(self.folder / f".snakemake/log/{name}.snakemake.log", f"host: x\nSelect jobs to execute...\n{text}")

    def only_set(self) -> ClipSet:
        (found,) = run_status("results", self.folder).sets
        return found


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def test_finished_shards_and_finished_batches_are_counted_once(run: Run) -> None:
    run.shard(0, clips(10, silent=1))
    run.batch(0, 0, 500, clips(5, silent=1))  # of the finished shard
    run.batch(0, 1, 400, clips(5))
    run.batch(1, 0, 300, clips(5, non_finite=2, clipped=1))
    found = run.only_set()
    assert (found.model, found.recipe, found.seed, found.done, found.total) == ("mini", "w8a8", 7, 15, N_PROMPTS)
    assert found.failures == {"silent": 1, "non_finite": 2}


def test_the_rate_is_that_of_all_jobs_over_the_last_batches(run: Run) -> None:
    for index, seconds_ago in enumerate([40, 30, 20]):  # two jobs side by side, a batch of five in ten seconds each
        for shard in (0, 1):
            run.batch(shard, index, seconds_ago + shard, clips(2, seconds=2.0))
    found = run.only_set()
    assert found.rate == pytest.approx(10 / 21, rel=0.01)  # after the first batch, ten clips in 21 seconds
    assert found.seconds_left == pytest.approx(8 * 21 / 10, rel=0.01)


def test_a_pause_is_no_work(run: Run) -> None:
    for index, seconds_ago in enumerate([3000, 2990, 20, 10]):
        run.batch(0, index, seconds_ago, clips(2, seconds=5.0))
    assert run.only_set().rate == pytest.approx(2 / 10, rel=0.05)


def test_a_single_batch_has_its_own_rate(run: Run) -> None:
    run.batch(0, 0, 5, clips(4, seconds=0.5))
    assert run.only_set().rate == pytest.approx(2.0)


def test_nothing_is_predicted_for_a_set_that_rests(run: Run) -> None:
    for index in range(3):
        run.batch(0, index, 1000 - index, clips(2))
    found = run.only_set()
    assert (found.done, found.rate, found.seconds_left) == (6, None, None)
    slow = [run.batch(0, index, 3000 - 1300 * index, clips(2, seconds=650.0)) for index in range(2)]
    assert slow
    run.batch(0, 2, 1000, clips(2, seconds=650.0))  # a batch takes 1300 s here: a thousand are no rest
    assert run.only_set().rate is not None


def test_what_an_earlier_recipe_made_is_not_counted(run: Run) -> None:
    run.shard(0, clips(10), config={"weight": {"bits": 4}})
    run.batch(1, 0, 4000, clips(5))  # older than the weights
    run.batch(2, 0, 100, clips(5))
    assert run.only_set().done == 5


def test_damaged_files_are_not_counted(run: Run) -> None:
    run.shard(0, clips(10)).write_bytes(b"PAR1 and no more")
    run.batch(1, 0, 100, clips(5)).write_bytes(b"")
    run.batch(1, 1, 100, clips(5))
    (run.results / "generate/mini/w8a8/seed7/clips/.shard-0001-batch-002.parquet.12.tmp").touch()
    assert run.only_set().done == 5


def test_a_damaged_prompts_table_leaves_the_total_unknown(run: Run) -> None:
    run.shard(0, clips(5))
    (run.results / "prompts/set.parquet").write_bytes(b"PAR1 and no more")
    assert (run.only_set().done, run.only_set().total) == (5, None)


def test_foreign_records_are_no_traceback(run: Run) -> None:
    run.batch(1, 0, 50, clips(5))
    folder = run.results / "generate/mini/w8a8/seed7"
    write_parquet(folder / "shard-0002.parquet", clips(5), {"made_from": ["w8a8"]})
    write_parquet(
        folder / "shard-0003.parquet", clips(5).drop(columns="status"), {"made_from": {"recipe": digest(RECIPE)}}
    )
    (folder / "shard-0004.parquet").mkdir()
    run.batch(1, 1, 10, clips(5).assign(seconds="soon", status=1))
    assert (run.only_set().done, run.only_set().rate) == (10, None)
    assert list(as_lines(run_status("results", run.folder)))


def test_before_the_prompts_and_before_the_first_clip(run: Run) -> None:
    (found,) = run_status("results", run.folder).sets
    assert (found.seed, found.done, found.total) == (None, 0, N_PROMPTS)
    run.batch(0, 0, 5, clips(5))
    for path in (run.results / "prompts").iterdir():
        path.unlink()
    assert (run.only_set().total, run.only_set().done) == (None, 5)
    assert list(as_lines(run_status("results", run.folder)))


FAILED = """
Error in rule generate:
    message: None
    jobid: 3
    input: src/a.py, results/quantize/mini/w8a8/weights.safetensors
    output: results/generate/mini/w8a8/seed7/shard-0001.parquet
    log: results/logs/generate/mini/w8a8/seed7/shard-0001.log (check log file(s) for error details)
Trying to restart job 3.
3 of 12 steps (25%) done
[Mon] Error in rule generate: is no block
Error in rule generate:
    jobid: 3
    output: results/generate/mini/w8a8/seed7/shard-0001.parquet
    log: results/logs/generate/mini/w8a8/seed7/shard-0001.log (check log file(s) for error details)
Error in rule score:
    jobid: 4
    output: results/score/mini/w8a8/seed7/lsd_db.parquet, results/more
    log: results/logs/score.log (check log file(s) for error details)
Error in rule calibrate:
    jobid: 5
    output: results/calibrate/mini/act_stats.safetensors
7 of 12 steps (58%) done
"""


def test_failed_jobs_are_named_with_the_last_word_of_their_log(run: Run) -> None:
    run.batch(0, 0, 5, clips(5, silent=1))
    run.driver_log(FAILED)
    write_text(
        run.results / "logs/generate/mini/w8a8/seed7/shard-0001.log",
        "12:00:00 start\n12:00:01 The disk is full: mend it.\n",
    )
    status = run_status("results", run.folder)
    assert status.jobs == (7, 12)
    assert status.sets[0].failures == {"silent": 1, "failed generate": 1, "failed score": 1}
    assert [job.rule for job in status.failed] == ["generate", "score", "calibrate"]
    assert status.failed[0].reason == "The disk is full: mend it."
    assert "killed" in status.failed[1].reason
    text = "\n".join(as_lines(status))
    for word in ("7 of 12", "shard-0001.log", "The disk is full", "1 failed generate", "1 silent"):
        assert word in text


def test_a_failure_that_a_retry_has_mended_is_none(run: Run) -> None:
    run.driver_log(FAILED)
    run.shard(1, clips(5))
    assert [job.rule for job in run_status("results", run.folder).failed] == ["score", "calibrate"]


def test_only_the_newest_run_of_snakemake_counts(run: Run) -> None:
    run.driver_log(FAILED)
    run.driver_log("1 of 9 steps (11%) done\n", name="2026-01-02T000000.000000")
    write_text(run.folder / ".snakemake/log/2026-01-03T000000.000000.snakemake.log", "Creating report...\n")
    status = run_status("results", run.folder)
    assert (status.failed, status.jobs) == ([], (1, 9))


def test_a_table_for_people_and_lines_for_logs(run: Run) -> None:
    run.quantize("fp32")
    run.shard(0, clips(N_PROMPTS), recipe="fp32")
    for index in range(2):
        run.batch(0, index, 30 - 10 * index, clips(5, seconds=1.0))
    status = run_status("results", run.folder)
    table = list(as_table(status))
    assert table[0].split() == ["model", "recipe", "seed", "clips", "rate", "time", "left", "failures"]
    assert table[1].split() == ["mini", "fp32", "7", "20/20", "finished"]
    assert table[2].split()[3:] == ["10/20", "0.50", "clips/s", "20", "s"]
    assert table[1].index("20/20") == table[2].index("10/20")
    lines = list(as_lines(status))
    assert lines[0] == "mini fp32 seed 7: 20/20 clips, finished"
    assert lines[1] == "mini w8a8 seed 7: 10/20 clips, 0.50 clips/s, 20 s left"
    assert lines[2] == "all: 30 clips done, 10 to do, 0.50 clips/s, 20 s left"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59, "59 s"), (90, "2 min"), (3600, "1 h 0 min"), (11100, "3 h 5 min"), (187200, "2 d 4 h")],
)
def test_durations_have_two_units_at_most(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_wrong_folder_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match="holds no run"):
        run_status("results", tmp_path)
    with pytest.raises(SystemExit) as caught:
        main(["status", "resutls", "--directory", str(tmp_path)])
    assert caught.value.code == 1
    error = capsys.readouterr().err
    assert str(tmp_path / "resutls") in error
    assert len(error.strip().splitlines()) == 1


def test_the_command_prints_lines_where_there_is_no_terminal(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    run.shard(0, clips(N_PROMPTS))
    main(["status", "--directory", str(run.folder)])
    assert capsys.readouterr().out.startswith("mini w8a8 seed 7: 20/20 clips, finished\n")


def test_many_recipes_cost_far_less_than_reading_their_tables(run: Run) -> None:
    # 100 recipes of 15 shards, as large as the paper's. The bar of 2 s is for a quiet machine: here a yardstick.
    rows = clips(325)
    first = run.shard(0, rows)
    for recipe in range(100):
        folder = run.results / f"generate/mini/r{recipe}/seed7"
        folder.mkdir(parents=True)
        for shard in range(15):
            os.link(first, folder / f"shard-{shard:04d}.parquet")
    write_parquet(run.results / "prompts/set.parquet", clips(15 * 325), {})
    started = time.process_time()
    for _ in range(50):
        read_parquet(first)
    yardstick = (time.process_time() - started) * 30
    started = time.process_time()
    status = run_status("results", run.folder)
    assert Counter(found.done for found in status.sets) == {4875: 100, 325: 1}
    assert time.process_time() - started < yardstick / 2
