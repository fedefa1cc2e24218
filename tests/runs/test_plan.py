"""What a run makes, asked of the plan without Snakemake."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from audioptq.errors import UserError
from audioptq.fetch.weights import weights_entries
from audioptq.runs.library_files import PACKAGE
from audioptq.runs.plan import Plan, embeddings_by_evaluator
from audioptq.runs.sources import Sources
from audioptq.score.table import METRICS, MetricInfo

ROOT = Path(__file__).parents[2]
CONFIG = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
WEIGHTS = weights_entries(ROOT / "workflow/weights.tsv")
A_CSV = {"kind": "csv", "path": "a.csv", "columns": {"clip_id": "id", "caption": "text"}, "seconds_total": 4.0}


def plan_of(n_clips: int = 40, **changes: Any) -> Plan:
    """The default run with sections changed key by key."""
    config = copy.deepcopy(CONFIG)
    for key, value in changes.items():
        config[key] = {**config[key], **value} if isinstance(value, dict) else value
    return Plan(config, n_clips, Sources(config, WEIGHTS))


def test_every_recipe_has_every_seed_and_full_precision_one_more() -> None:
    plan = plan_of(run=["fp32", "bf16"], generation={"seeds": [1, 2], "noise_floor_seed": 3})
    assert plan.runs() == [("fp32", 1), ("fp32", 2), ("bf16", 1), ("bf16", 2), ("fp32", 3)]


def test_shards_of_embedding_are_whole_shards_of_generation() -> None:
    n_shards = {}
    for clips in (1, 7, 8, 400):
        plan = plan_of(13, generation={"clips_per_shard": 4}, embedding={"clips_per_shard": clips})
        files = plan.embeddings("mini", "fp32", 1000, "clap_mini")
        n_shards[clips] = len(files)
        embedded = [plan.manifests_to_embed("mini", "fp32", 1000, f"{shard:04d}") for shard in range(len(files))]
        assert [path for paths in embedded for path in paths] == plan.manifests("mini", "fp32", 1000)
    assert n_shards == {1: 4, 7: 4, 8: 2, 400: 1}


def test_a_score_job_has_the_inputs_of_all_metrics() -> None:
    metrics = ["clap_mini", "kl_mini", "fd_mini", "kl_mini_fp32", "mcd_db"]
    inputs = plan_of(metrics=metrics).score_inputs("mini", "w8a8_sqd", "1000")
    clips = "results/generate/mini/{}/seed{}/shard-0000.parquet"
    assert inputs == {
        "manifests": [clips.format("w8a8_sqd", 1000)],
        "baseline": [clips.format("fp32", 1000)],
        "generated_clap_mini": ["results/embed/mini/w8a8_sqd/seed1000/clap_mini/shard-0000.safetensors"],
        "captions_clap_mini": "results/embed/captions/soundscapes/clap_mini.safetensors",
        "generated_tagger_mini": ["results/embed/mini/w8a8_sqd/seed1000/tagger_mini/shard-0000.safetensors"],
        "references_tagger_mini": "results/embed/references/soundscapes/tagger_mini.safetensors",
        "fp32_tagger_mini": ["results/embed/mini/fp32/seed1000/tagger_mini/shard-0000.safetensors"],
    }
    assert embeddings_by_evaluator(inputs) == {
        "clap_mini": {"generated": inputs["generated_clap_mini"], "captions": inputs["captions_clap_mini"]},
        "tagger_mini": {kind: inputs[f"{kind}_tagger_mini"] for kind in ("generated", "references", "fp32")},
    }


def test_an_evaluator_s_metric_against_full_precision_takes_its_embeddings(monkeypatch: pytest.MonkeyPatch) -> None:
    info = MetricInfo("1", False, "fp32", "FD to fp32", "frechet.frechet", embedder="tagger_mini", set_level=True)
    monkeypatch.setitem(METRICS, "fd_mini_fp32", info)
    plan = plan_of(metrics=["fd_mini_fp32"], generation={"seeds": [5, 6], "noise_floor_seed": 7})
    file = "results/embed/mini/{}/seed{}/tagger_mini/shard-0000.safetensors"
    for recipe, seed, of_fp32 in (("bf16", 6, 6), ("fp32", 5, 5), ("fp32", 7, 5)):
        inputs = plan.score_inputs("mini", recipe, seed)
        assert embeddings_by_evaluator(inputs) == {
            "tagger_mini": {"generated": [file.format(recipe, seed)], "fp32": [file.format("fp32", of_fp32)]}
        }
        assert "baseline" not in inputs
    assert plan.embedders() == ["tagger_mini"]
    assert plan.embedders("references") == []


def test_without_references_their_metrics_are_left_out() -> None:
    published = {"tagger_mini": "passt"}
    for dataset, metrics, folders in (
        (A_CSV, ["clap_mini", "lsd_db"], {"captions": ["clap_mini"], "references": [], "published": []}),
        (A_CSV | {"reference_dir": "a"}, ["clap_mini", "kl_mini", "lsd_db"], {"references": ["tagger_mini"]}),
        (A_CSV | {"audio": {"url": "u"}}, ["clap_mini", "kl_mini", "lsd_db"], {"references": ["tagger_mini"]}),
        (
            A_CSV | {"published_references": published},
            ["clap_mini", "kl_mini", "lsd_db"],
            {"published": ["tagger_mini"]},
        ),
    ):
        plan = plan_of(dataset="a", datasets={"a": dataset}, metrics=["clap_mini", "kl_mini", "lsd_db"])
        assert list(plan.metrics()) == metrics
        assert {folder: plan.embedders(folder) for folder in folders} == folders


def test_only_absent_files_of_the_table_are_downloaded(tmp_path: Path) -> None:
    plan = plan_of(
        metrics=["clap_laion", "kl_passt"], downloads=str(tmp_path), weights={"passt": str(tmp_path / "own.pt")}
    )
    (tmp_path / "own.pt").touch()
    needed = [Path(file) for file in plan.downloads()]
    absent = plan.sources.absent(map(str, needed))
    assert {entry.path(tmp_path) for entry in absent} == {path for path in needed if path.name != "own.pt"}
    assert absent
    for entry in absent:
        entry.path(tmp_path).parent.mkdir(parents=True, exist_ok=True)
        entry.path(tmp_path).touch()
    assert plan.sources.absent(map(str, needed)) == []


def test_what_a_profile_reckons_with_follows_the_size_of_jobs() -> None:
    sizes = plan_of(generation={"clips_per_shard": 50}, embedding={"clips_per_shard": 199}).sizes()
    assert sizes == {"CLIPS_PER_SHARD": "50", "CLIPS_PER_EMBEDDING": "450", "SAMPLER_STEPS": "16", "N_METRICS": "12"}


def test_the_modules_of_metrics_are_files() -> None:
    modules = plan_of().metric_modules(PACKAGE)
    assert {path.stem for path in modules} == {"clap", "kl", "frechet", "mcd", "lsd"}
    assert all(path.is_file() for path in modules)


def test_metrics_that_all_need_references_which_are_not_there_are_refused() -> None:
    plan = plan_of(dataset="c", datasets={"c": A_CSV}, metrics=["kl_mini", "fd_mini"])
    with pytest.raises(UserError, match=r"All of `metrics` \(kl_mini, fd_mini\) compare with references.*data set c"):
        plan.metrics()
    assert list(plan_of(dataset="c", datasets={"c": A_CSV}, metrics=["kl_mini", "mcd_db"]).metrics()) == ["mcd_db"]


def test_answers_to_a_listening_test_are_those_that_are_there(tmp_path: Path) -> None:
    plan = Plan({**CONFIG, "results": str(tmp_path)}, 40, Sources(CONFIG, WEIGHTS))
    assert plan.listening_answers() == []
    (tmp_path / "listening/answers").mkdir(parents=True)
    (tmp_path / "listening/test.answers.jsonl").touch()
    assert plan.listening_answers() == [
        str(tmp_path / "listening/test.answers.jsonl"),
        str(tmp_path / "listening/answers"),
    ]
