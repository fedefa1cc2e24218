"""The whole pipeline as a user runs it: from nothing to the table, again, changed, killed, and misconfigured."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml

from tests.workflow_run import REPOSITORY, TIMING, Run, copy_of, planned_jobs

KILLS = 4
COLUMNS = {"clip_id": "id", "caption": "text"}
NO_SUCH_FILE = {"kind": "csv", "path": "nowhere.csv", "columns": COLUMNS, "seconds_total": 4.0}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = Run(tmp_path_factory.mktemp("undisturbed"))
    result = run()
    assert result.returncode == 0, result.stderr[-4000:]
    return run


def test_the_table_has_a_whole_row_for_every_recipe(undisturbed: Run) -> None:
    table = undisturbed.table()
    assert table["recipe"].tolist() == undisturbed.config["run"]
    timed = [f"{time}{end}" for time in ("seconds_per_clip", "speedup") for end in ("_low", "_high")]
    assert not table.drop(columns=timed).isna().any().any()
    assert table[timed].isna().all(axis=None)  # of three batches
    assert (table["n_clips"] == 6).all()
    for metric in undisturbed.config["metrics"]:
        assert (table[f"{metric}_low"] <= table[f"{metric}_high"]).all()
    fp32 = table.set_index("recipe").loc["fp32"]
    assert fp32["mcd_db"] == fp32["lsd_db"] == 0
    assert fp32["size_ratio"] == fp32["speedup"] == 1


def test_six_clips_name_no_recipe_as_safe(undisturbed: Run) -> None:
    """The table begins with the answer, which `make` prints."""
    text = (undisturbed.folder / "results/report/table.md").read_text()
    assert text.startswith("May be shipped: none shown yet.")
    verdicts = pd.read_csv(undisturbed.folder / "results/report/comparisons.csv")
    own = verdicts[verdicts["metric"] == "fd_mini"]
    assert set(own["verdict"]) <= {"not enough clips", "worse"}  # 42 windows of 64 dimensions
    assert (own["n_needed"].dropna() == 19).all()


def test_jobs_run_side_by_side(undisturbed: Run) -> None:
    paths = (undisturbed.folder / ".snakemake/metadata").iterdir()
    found = [json.loads(path.read_text()) for path in paths]
    records = {record["log"][0]: record for record in found if record.get("log")}  # a job may have several outputs
    spans = [(record["starttime"], record["endtime"]) for record in records.values()]
    wall = max(end for _, end in spans) - min(start for start, _ in spans)
    assert sum(end - start for start, end in spans) / wall >= 1.2  # two jobs at a time, so that 2 is the most


def test_a_second_run_has_nothing_to_do_and_says_so_quickly(undisturbed: Run) -> None:
    started = time.monotonic()
    result = undisturbed()
    assert "Nothing to be done" in result.stdout + result.stderr
    assert time.monotonic() - started < 60  # the bar is 15 s on a quiet machine; CI's is not


def test_snakemakes_report_has_captions_and_categories(undisturbed: Run) -> None:
    result = undisturbed("--report", "about.html")
    assert result.returncode == 0, result.stdout + result.stderr
    text = (undisturbed.folder / "about.html").read_text()
    categories = json.loads(re.search(r"var categories = (\{.*?\});", text)[1])
    files = [path for subcategories in categories.values() for paths in subcategories.values() for path in paths]
    assert {"results/report/table.csv", "results/report/report.html"} <= set(files)
    for caption in ("what each recipe costs and buys", "One row per recipe", "clips to listen to"):
        assert caption in text
    assert not re.search(r"<(script|link|img)[^>]+https?://", text)


def test_changing_one_alpha_reruns_that_chain_and_the_report_alone(undisturbed: Run) -> None:
    recipe = yaml.safe_load((REPOSITORY / "config.yaml").read_text())["recipes"]["w8a8_sqs"]
    recipe["smoothing"]["alpha"] = 0.6
    undisturbed.config["recipes"] = {"w8a8_sqs": recipe}
    try:
        planned = undisturbed.planned()
    finally:
        del undisturbed.config["recipes"]
    # Two shards, embedded at once.
    assert planned == {"quantize": 1, "generate": 2, "embed_clips": 1, "score": 1, "report": 1}


def test_what_changes_clips_generates_all_of_them(undisturbed: Run) -> None:
    generation = undisturbed.config["generation"]
    undisturbed.config["generation"] = generation | {"compute": "integer"}
    planned = undisturbed.planned()
    undisturbed.config["generation"] = generation
    assert planned["generate"] == 10


def test_another_metric_embeds_with_the_new_evaluator_alone_and_generates_nothing(
    undisturbed: Run, tmp_path: Path
) -> None:
    run = copy_of(undisturbed, tmp_path)
    run.config["metrics"] = ["lsd_db", "kl_mini"]
    target = "results/score/mini/w8a8_sqs/seed1000/lsd_db.parquet"
    assert run(target).returncode == 0
    written = (tmp_path / target).stat().st_mtime_ns
    run.config["metrics"] = ["lsd_db", "kl_mini", "clap_mini"]
    # The other four sets have had both evaluators all the time.
    assert run.planned() == {"embed_clips": 1, "score": 5, "report": 1}
    for kept in tmp_path.glob("results/embed/mini/w8a8_sqs/seed1000/clap_mini/.*.kept"):
        kept.unlink()  # of the first run
    assert run(target).returncode == 0
    assert (tmp_path / target).stat().st_mtime_ns > written
    log = (tmp_path / "results/logs/embed/mini/w8a8_sqs/seed1000/shard-0000.log").read_text()
    assert "tagger_mini: nothing has changed" in log
    assert "clap_mini: 6 clips" in log


def test_shards_of_embedding_are_whole_shards_of_generation(undisturbed: Run) -> None:
    planned = {}
    for clips in (1, 7, 8):
        undisturbed.config["embedding"] = {"clips_per_shard": clips}
        planned[clips] = undisturbed.planned().get("embed_clips", 0)
    del undisturbed.config["embedding"]
    # Two shards of four for each of five sets (four recipes, and the noise floor's); at eight, nothing changes.
    assert planned == {1: 10, 7: 10, 8: 0}


@pytest.mark.parametrize(
    ("edited", "stages"),
    [
        ("score/mcd.py", {"score", "report"}),
        ("embed/clap_mini.py", {"embed_clips", "embed_captions", "score", "report"}),
        (
            "models/stable_audio/adapter.py",
            {"calibrate", "merge_calibration", "quantize", "generate", "embed_clips", "score", "report"},
        ),
        ("report/measure/table.py", {"report"}),
    ],
)
def test_editing_a_library_file_reruns_the_stages_that_use_it(
    undisturbed: Run, tmp_path: Path, edited: str, stages: set[str]
) -> None:
    # A copy of the project and of the finished run: the project itself is not edited.
    project = tmp_path / "project"
    shutil.copytree(REPOSITORY, project, ignore=shutil.ignore_patterns(".git", ".venv", "results", ".snakemake"))
    run = copy_of(undisturbed, tmp_path / "run")
    command = [argument.replace(str(REPOSITORY), str(project)) for argument in run.command()]
    environment = {**os.environ, "PYTHONPATH": str(project / "src")}
    subprocess.run([*command, "--touch"], env=environment, check=True, capture_output=True, timeout=300)

    def rerun() -> set[str]:
        result = subprocess.run(
            [*command, "--dry-run"], env=environment, capture_output=True, text=True, timeout=300, check=True
        )
        return set(planned_jobs(result.stdout))

    assert rerun() == set()
    path = project / "src/audioptq" / edited
    path.write_text(path.read_text() + "\n# an edit\n")
    assert rerun() == stages


def test_a_run_that_is_killed_again_and_again_ends_in_the_same_table(undisturbed: Run, tmp_path: Path) -> None:
    run = Run(tmp_path)
    plan = random.Random(3)
    for _ in range(KILLS):
        process = subprocess.Popen(
            run.command(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        time.sleep(plan.uniform(10, 40))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        run("--unlock")
    finished = {path: path.stat().st_mtime_ns for path in tmp_path.glob("results/generate/**/*-batch-*.parquet")}
    result = run()
    assert result.returncode == 0, result.stderr[-4000:]
    again = [path for path, written in finished.items() if path.stat().st_mtime_ns != written]
    assert again == [], "finished batches were generated again"
    pd.testing.assert_frame_equal(run.table().drop(columns=TIMING), undisturbed.table().drop(columns=TIMING))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"samplr": {}}, ["samplr", "sampler"]),
        ({"recipes": {"w8a8_sqs": {"weight": {"bits": 5, "granularity": "per_channel"}}}}, ["bits", "5"]),
        ({"recipes": {"w8a8_sqs": {"smoothing": {"kind": "static", "alpha": 2}}}}, ["alpha", "2"]),
        ({"run": ["fp32", "w8a8_sqz"]}, ["w8a8_sqz", "w8a8_sqs"]),
        ({"metrics": ["clap_minni"]}, ["clap_minni", "clap_mini"]),
        ({"dataset": "absent", "datasets": {"absent": NO_SUCH_FILE}}, ["nowhere.csv"]),
    ],
    ids=["unknown-key", "bits", "alpha", "unknown-recipe", "unknown-metric", "no-prompt-file"],
)  # fmt: skip
def test_a_mistake_in_the_config_is_one_paragraph_before_any_job(
    tmp_path: Path, changes: dict[str, object], named: list[str]
) -> None:
    result = Run(tmp_path, **changes)()
    output = result.stdout + result.stderr
    assert result.returncode != 0
    assert "Traceback" not in output
    for name in named:
        assert name in output
    assert not (tmp_path / "results").exists()


def test_a_layer_glob_that_matches_nothing_is_found_before_any_job(tmp_path: Path) -> None:
    recipe = {"weight": {"bits": 8, "granularity": "per_channel"}, "layers": {"include": ["*.feedforward.*"]}}
    result = Run(tmp_path, recipes={"odd": recipe}, run=["fp32", "odd"])()
    output = result.stdout + result.stderr
    assert result.returncode != 0
    assert "*.feedforward.*" in output
    assert "odd" in output
    assert not (tmp_path / "results").exists()


def test_a_damaged_weights_file_is_named_with_its_cure(undisturbed: Run, tmp_path: Path) -> None:
    run = copy_of(undisturbed, tmp_path)
    weights = tmp_path / "results/quantize/mini/w8a8_sqs/weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    manifest = tmp_path / "results/generate/mini/w8a8_sqs/seed1000/shard-0000.parquet"
    manifest.unlink()
    result = run()
    output = result.stdout + result.stderr
    assert result.returncode != 0
    assert str(weights.relative_to(tmp_path)) in output
    assert "delete" in output.lower()
    assert not manifest.exists()


def test_lint_is_clean() -> None:
    result = subprocess.run(["snakemake", "--lint"], cwd=REPOSITORY, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stdout + result.stderr
