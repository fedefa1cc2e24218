"""A configuration is checked before any job starts, and the error says what to change."""

import copy
from pathlib import Path

import pytest
import yaml

from audioptq.errors import UserError
from audioptq.runs.config_check import GONE, check_config, check_files

ROOT = Path(__file__).parents[2]
SCHEMA = ROOT / "workflow" / "schemas" / "config.schema.yaml"
CONFIG = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
A_CSV_DATASET = {"kind": "csv", "path": "a.csv", "columns": {"clip_id": "id", "caption": "text"}, "seconds_total": 10.0}


def changed(path, value):
    """The shipped configuration with one key set; `...` removes it."""
    config = copy.deepcopy(CONFIG)
    *parents, last = path.split(".")
    part = config
    for key in parents:
        part = part[key]
    if value is ...:
        del part[last]
    else:
        part[last] = value
    return config


def test_the_shipped_configuration_passes():
    before = copy.deepcopy(CONFIG)
    check_config(CONFIG, SCHEMA)
    assert CONFIG == before


def test_the_schema_and_the_shipped_configuration_have_the_same_keys():
    schema = yaml.safe_load(SCHEMA.read_text(encoding="utf-8"))
    assert set(schema["properties"]) == set(schema["required"]) == set(CONFIG)


def test_every_object_of_the_schema_refuses_unknown_keys():
    def objects(node, path=""):
        children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
        for key, value in children:
            # A condition matches what it matches, and what hangs on conditions (`allOf`) closes its alternatives itself.
            if isinstance(value, dict) and "properties" in value and key != "if" and "allOf" not in value:
                yield f"{path}.{key}", value
            yield from objects(value, f"{path}.{key}")

    found = dict(objects({"schema": yaml.safe_load(SCHEMA.read_text(encoding="utf-8"))}))
    assert len(found) > 10
    assert [path for path, node in found.items() if node.get("additionalProperties") is not False] == []


@pytest.mark.parametrize(
    ("path", "value"), [("datasets.audiocaps", A_CSV_DATASET), ("datasets.audiocaps", A_CSV_DATASET | {"max_clips": 7})]
)
def test_legal_changes_pass(path, value):
    check_config(changed(path, value), SCHEMA)


@pytest.mark.parametrize(
    "path",
    [*sorted((ROOT / "experiments").glob("*.yaml")), ROOT / "tests" / "config.tiny.yaml"],
    ids=lambda path: path.name,
)
def test_the_shipped_differences_pass_on_top(path):
    def merge(base, difference):
        for key, value in difference.items():
            base[key] = (
                merge(base[key], value) if isinstance(value, dict) and isinstance(base.get(key), dict) else value
            )
        return base

    check_config(merge(copy.deepcopy(CONFIG), yaml.safe_load(path.read_text(encoding="utf-8"))), SCHEMA)


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("sample", {}, ["`sample`", "'sampler'"]),
        ("sampler.step", 4, ["`sampler.step`", "'steps'"]),
        ("generation.batchsize", 4, ["`generation.batchsize`", "'batch_size'"]),
        ("models.mini.paths", "x", ["`models.mini.paths`", "'path'"]),
        ("models.mini.hub", "a/b", ["models.mini"]),
        ("models.other", {"hub": "a/b"}, ["models.other"]),
        ("evaluators.tager_mini", {}, ["tager_mini", "tagger_mini"]),
        ("evaluators.tagger_mini", {"variant": "maxi"}, ["'maxi'", "mini", "evaluators.tagger_mini.variant"]),
        ("evaluators.tagger_mini", {"varient": "mini"}, ["`evaluators.tagger_mini.varient`", "'variant'"]),
        ("report.published", [{"recipe": "fp32"}], ["report.published.0", "source"]),
        ("report.published", [{"source": "a paper", "clap_minni": 1}], ["clap_minni", "'clap_mini'"]),
        ("report.published", [{"source": "a paper", "clap_mini": "1"}], ["clap_mini", "number"]),
        ("datasets.a", A_CSV_DATASET | {"audio": {"url": "file:///etc/passwd"}}, ["url"]),
        ("datasets.soundscapes.n_clip", 4, ["`datasets.soundscapes.n_clip`", "'n_clips'"]),
        ("datasets.a", A_CSV_DATASET | {"max_clip": 4}, ["`datasets.a.max_clip`", "'max_clips'"]),
        ("datasets.a", A_CSV_DATASET | {"columns": {"clip_id": "id"}}, ["datasets.a.columns", "caption"]),
        ("datasets.soundscapes.kind", "soundscape", ["datasets.soundscapes.kind", "soundscapes"]),
        ("train_mini.dit.step", 4, ["`train_mini.dit.step`", "'steps'"]),
        ("recipes.w8a8_rtn.weight.bits", 5, ["w8a8_rtn", "weight.bits", "5"]),
        ("recipes.w8a8_sqd.smoothing.alpha", 2, ["w8a8_sqd", "smoothing.alpha", "2"]),
        ("recipes.w8a8_sqd.smoothing.alhpa", 0.5, ["w8a8_sqd", "smoothing.alhpa", "'alpha'"]),
        ("recipes.w8a8_rtn.weights", {}, ["w8a8_rtn", "weights", "'weight'"]),
        ("run", ["fp32", "w8a8_rnt"], ["`run`", "'w8a8_rnt'", "'w8a8_rtn'"]),
        ("run", ["bf16"], ["`run`", "fp32"]),
        ("run", [], ["run"]),
        ("model", "mimi", ["`model`", "'mimi'", "'mini'"]),
        ("dataset", "soundscape", ["`dataset`", "'soundscapes'"]),
        ("metrics", ["clap_mini", "mdc_db"], ["mdc_db", "mcd_db"]),
        ("metrics", ["clap_mini", "clap_mini"], ["metrics"]),
        ("generation.noise_floor_seed", 1000, ["`generation.noise_floor_seed`", "1000", "generation.seeds"]),
        ("generation.seeds", [5, 1001], ["`generation.noise_floor_seed`", "1001"]),
        ("verdicts.margins.kl_min", 0.1, ["`verdicts.margins`", "'kl_min'", "'kl_mini'"]),
        ("verdicts.margins.clap", -0.01, ["margin of clap", "-0.01"]),
        ("verdicts.margins.clap", {"percent": 5}, ["margin of clap", "relative"]),
        ("verdicts.margin", {}, ["`verdicts.margin`", "'margins'"]),
        ("generation.seeds", [-1], ["generation.seeds.0", "-1"]),
        ("generation.bit_depth", 20, ["generation.bit_depth", "20", "16, 24"]),
        ("generation.compute", "int8", ["generation.compute", "int8", "simulated", "integer"]),
        ("sampler.sigma_min", 600, ["`sampler.sigma_min`", "600", "sigma_max"]),
        ("sampler.sigma_max", 0.3, ["sampler.sigma_max", "0.3"]),
        ("sampler.name", "dpmpp-3m", ["sampler.name", "dpmpp-3m-sde"]),
        ("sampler.name", "ping-pong", ["sampler.sigma_min does not belong to the sampler ping-pong", "null"]),
        ("sampler.eta", 0.5, ["sampler.eta does not belong to the sampler dpmpp-3m-sde"]),
        ("sampler.spacing", "even", ["sampler.spacing", "leading"]),
        ("sampler.steps", 4.0, ["sampler.steps is 4.0", "whole number"]),
        ("sampler.cfg_scale", float("nan"), ["nan"]),
        ("sampler.steps", "16", ["sampler.steps", "integer"]),
        ("sampler.steps", ..., ["'steps'", "sampler"]),
        ("metrics", ..., ["'metrics'", "top level"]),
    ],
    ids=str,
)  # fmt: skip
def test_the_error_names_the_key_and_what_is_legal(path, value, words):
    with pytest.raises(UserError) as caught:
        check_config(changed(path, value), SCHEMA)
    text = str(caught.value)
    assert [word for word in words if word not in text] == [], text
    assert "\n" not in text


@pytest.mark.parametrize("key", GONE)
def test_a_key_that_is_gone_says_so_and_what_to_do(key):
    with pytest.raises(UserError, match=rf"`{key}` is gone: .*[Rr]emove") as caught:
        check_config(changed(key, None), SCHEMA)
    assert "\n" not in str(caught.value)


def test_a_metric_that_takes_no_clips_as_long_is_refused():
    config = changed("datasets.soundscapes.seconds_total", 10.5)
    check_config(config, SCHEMA)
    with pytest.raises(UserError, match=r"seconds_total` is 10\.5, and clap_laion takes at most 10 "):
        check_config(config | {"metrics": ["clap_laion"]}, SCHEMA)


def test_files_of_evaluators_are_known_by_name(tmp_path):
    check_files(CONFIG, ["passt"])
    check_files(changed("weights.passt", "a.pt"), ["passt"])
    with pytest.raises(UserError, match=r"`weights` names 'pass', which is not defined\. Did you mean 'passt'"):
        check_files(changed("weights.pass", "a.pt"), ["passt"])
    (tmp_path / "stats.npz").write_bytes(b"")
    for name in ("passt", str(tmp_path / "stats.npz")):
        check_files(changed("datasets.a", A_CSV_DATASET | {"published_references": {"tagger_mini": name}}), ["passt"])
    for entry, word in (({"tagger_mini": "stats.npz"}, "stats.npz"), ({"tager_mini": "passt"}, "tagger_mini")):
        with pytest.raises(UserError, match=word):
            check_files(changed("datasets.a", A_CSV_DATASET | {"published_references": entry}), ["passt"])


def test_results_that_cannot_be_written_are_found_before_any_job(tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(UserError, match="not a folder"):
        check_config(changed("results", str(tmp_path / "taken" / "results")), SCHEMA)


DISCRETE = {"name": "ddim", "steps": 4, "cfg_scale": 1.0, "sigma_min": None, "sigma_max": None, "rho": None}


@pytest.mark.parametrize("sampler", [DISCRETE, DISCRETE | {"name": "ping-pong"}], ids=["ddim", "ping-pong"])
def test_a_sampler_of_another_objective_than_the_model_s_is_refused(sampler, monkeypatch):
    """Before any job: the one that fails would take its finished outputs with it."""
    monkeypatch.chdir(ROOT)
    with pytest.raises(UserError, match=r"whose objective is v: set `sampler\.name` .* dpmpp-3m-sde, .*, euler\."):
        check_config(changed("sampler", sampler), SCHEMA)


def test_settings_of_another_objective_are_refused_under_the_model_s(monkeypatch):
    monkeypatch.chdir(ROOT)
    euler = {"name": "euler", "steps": 4, "cfg_scale": 1.0, "logsnr_min": -6.0, "logsnr_max": 2.0}
    with pytest.raises(UserError, match="logsnr_min does not belong to the sampler euler under the objective v"):
        check_config(changed("sampler", euler), SCHEMA)


def test_a_model_that_is_yet_to_be_downloaded_may_have_any_sampler():
    config = changed("sampler", DISCRETE)
    config["models"]["mini"] = {"hub": "a/b", "revision": "c"}
    check_config(config, SCHEMA)
