"""Which files stand for what the config names."""

from pathlib import Path
from typing import Any

import pytest

from audioptq.errors import UserError
from audioptq.fetch.weights import weights_entries
from audioptq.models.registry import families
from audioptq.runs.sources import Sources

ROOT = Path(__file__).parents[2]
WEIGHTS = weights_entries(ROOT / "workflow/weights.tsv")
HUB = {"hub": "a/b", "revision": "main"}


def sources(models: dict[str, Any], **config: Any) -> Sources:
    return Sources({"models": models, "downloads": "downloads", "weights": {}, "evaluators": {}, **config}, WEIGHTS)


def test_a_local_model_has_the_files_of_its_family(tmp_path: Path) -> None:
    (tmp_path / "model_config.json").touch()
    found = sources({"a": {"path": str(tmp_path)}})
    assert found.model_files("a") == [f"{tmp_path}/model_config.json", f"{tmp_path}/model.safetensors"]
    (tmp_path / "model.ckpt").touch()
    assert found.model_files("a")[1] == f"{tmp_path}/model.ckpt"
    assert {path.parent.name for path in found.family_modules("a")} == {"stable_audio"}


def test_a_folder_of_no_family_is_named(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(UserError, match=str(path)):
            sources({"a": {"path": str(path)}}).model_files("a")


def test_a_model_of_the_hub_is_downloaded_and_may_be_of_any_family() -> None:
    found = sources({"a": HUB})
    folder = "downloads/models/a"
    assert found.model_files("a") == [f"{folder}/model_config.json", f"{folder}/model.safetensors"]
    assert {path.parent for path in found.family_modules("a")} == set(families().values())


def test_a_text_encoder_is_a_folder_or_rows_of_the_table(tmp_path: Path) -> None:
    for name in ("b.json", "a.bin"):
        (tmp_path / name).touch()
    found = sources({"a": HUB, "b": HUB | {"text_encoder": str(tmp_path)}, "c": HUB | {"text_encoder": "t5-base"}})
    assert found.text_encoder_files("a") == []
    assert found.text_encoder_files("b") == [f"{tmp_path}/a.bin", f"{tmp_path}/b.json"]
    listed = found.text_encoder_files("c")
    assert listed == sorted(listed)
    assert {Path(path).parent for path in listed} == {Path("downloads/t5-base")}


def test_an_evaluator_s_files_are_local_where_the_config_says_so() -> None:
    names = list(sources({}).evaluator_files("passt"))
    found = sources({}, weights={names[0]: "own.pt"})
    assert found.evaluator_files("passt")[names[0]] == "own.pt"
    assert sources({}).evaluator_files("passt")[names[0]] == f"downloads/{WEIGHTS[names[0]].file}"


def test_published_statistics_are_a_file_or_a_row_of_the_table() -> None:
    found = sources({}, datasets={"a": {"published_references": {"passt": "own.npz", "pann": next(iter(WEIGHTS))}}})
    assert found.published_file("a", "passt") == "own.npz"
    assert found.published_file("a", "pann") == f"downloads/{next(iter(WEIGHTS.values())).file}"


def test_the_bench_knows_what_the_weights_of_its_models_are() -> None:
    models = {"a": {"path": "x", "random_weights": True}, "b": HUB | {"text_encoder": "t5-base"}}
    assert sources(models, bench={"models": ["a", "b"]}).bench_models() == {
        "a": {"folder": "x", "weights": "random", "text_encoder": None},
        "b": {"folder": "downloads/models/b", "weights": "trained", "text_encoder": "downloads/t5-base"},
    }
