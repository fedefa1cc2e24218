"""The documentation names what exists: links, recipes, metrics, config keys, commands, error texts."""

import copy
import dataclasses
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

import audioptq
from audioptq.evaluators import evaluators
from audioptq.quantize import QuantRecipe
from audioptq.quantize.recipe.recipe import LayerSpec
from audioptq.quantize.recipe.specs import SECTIONS
from audioptq.runs.config_check import GONE, check_config
from audioptq.score.table import METRICS

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
CONFIG = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
SCHEMA = ROOT / "workflow/schemas/config.schema.yaml"
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
RECIPE_NAME = re.compile(r"(fp|bf|w)\d+(a\d+\w*)?")
FILE_ENDINGS = ("py", "md", "json", "yaml", "csv", "txt", "html", "parquet", "safetensors", "toml", "cff", "log", "tex")


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def prose(page: Path) -> str:
    """The text of a page without its fenced blocks."""
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def fenced(page: Path, language: str) -> list[str]:
    return [body for kind, body in FENCE.findall(page.read_text(encoding="utf-8")) if kind == language]


def ticked(page: Path) -> set[str]:
    """What a page has in backticks."""
    return set(re.findall(r"`([^`\n]+)`", prose(page)))


def table_rows(page: Path) -> list[list[str]]:
    lines = [line for line in prose(page).splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip().strip("|").split(" | ")] for line in lines]


def anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def experiments() -> dict[str, dict[str, Any]]:
    """Experiments by file name: those of the repository, and those that a page shows in full."""
    shown = {}
    for page in PAGES:
        for body in fenced(page, "yaml"):
            first = body.splitlines()[0]
            if first.startswith("# experiments/"):
                shown[first.removeprefix("# ")] = yaml.safe_load(body)
    files = [*ROOT.glob("experiments/*.yaml"), ROOT / "tests/config.tiny.yaml"]
    return shown | {name_of(path): yaml.safe_load(path.read_text(encoding="utf-8")) for path in files}


def merged(base: Any, changes: Any) -> Any:
    """Snakemake's merging of config files: mappings key by key, everything else replaced."""
    if not isinstance(base, dict) or not isinstance(changes, dict):
        return changes
    return base | {key: merged(base.get(key), value) for key, value in changes.items()}


EXPERIMENTS = experiments()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_relative_links_resolve(page: Path) -> None:
    text = prose(page)
    links = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r"(?:src|srcset|href)=\"([^\"\s]+)\"", text)
    for link in links:
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{name_of(page)} links to {link}"
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), f"{name_of(page)} links to {link}"


def test_every_shipped_recipe_is_documented_and_every_named_one_exists() -> None:
    page = ROOT / "docs/recipes.md"
    first_cells = {row[0].strip("`") for row in table_rows(page)}
    assert set(CONFIG["recipes"]) <= first_cells
    named = {token for page in PAGES for token in ticked(page) if RECIPE_NAME.fullmatch(token)}
    # A pair of widths such as w4a8 names a family of recipes.
    unknown = {token for token in named if not any(name.startswith(token) for name in CONFIG["recipes"])}
    assert not unknown


def test_documented_bits_are_those_of_the_recipes() -> None:
    rows = {row[0].strip("`"): row for row in table_rows(ROOT / "docs/recipes.md")}
    for name, entry in CONFIG["recipes"].items():
        recipe = QuantRecipe.from_config(name, entry)
        assert rows[name][1:3] == [str(recipe.weight_bits), str(recipe.act_bits)], name
        assert ("not in `run`" in rows[name][3]) == (name not in CONFIG["run"]), name


def test_every_axis_and_every_legal_value_is_documented() -> None:
    text = (ROOT / "docs/recipes.md").read_text(encoding="utf-8")
    sections = {**SECTIONS, "layers": LayerSpec}
    for name, kind in sections.items():
        body = text.partition(f"### `{name}`\n")[2].partition("\n##")[0]
        rows = {row.split("`")[1]: row for row in body.splitlines() if row.startswith("| `")}
        fields = {field.name: field for field in dataclasses.fields(kind)}
        assert set(rows) == set(fields), name
        for key, field in fields.items():
            values = field.metadata.get("values")
            if values is not None:
                documented = re.findall(r"`([^`]+)`", rows[key].split(" | ")[1])
                assert documented == [str(value) for value in values], f"{name}.{key}"
            assert all(f"`{word}`" in rows[key] for word in field.metadata.get("count", ())), f"{name}.{key}"
    for field in dataclasses.fields(QuantRecipe):
        values = field.metadata.get("values", ())
        assert all(f"`{value}`" in text for value in values), field.name


def test_metrics_page_agrees_with_the_registry() -> None:
    page = ROOT / "docs/metrics.md"
    rows = {row[0].strip("`"): row[1:] for row in table_rows(page)}
    text = page.read_text(encoding="utf-8")
    for metric, info in METRICS.items():
        better = "higher" if info.higher_is_better else "lower"
        evaluator = f"`{info.embedder}`" if info.embedder else "none"
        level = "set" if info.set_level else "clip"
        assert rows[metric] == [better, info.unit, info.target, level, evaluator], metric
        assert f"\n## `{metric}`\n" in text, metric
    named = {token for page in PAGES for token in ticked(page) if re.fullmatch(r"[a-z_]+_(mini|db)", token)}
    assert named - set(METRICS) - set(evaluators()) - {"train_mini", "statistic_db", "sqnr_db"} == set()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_dotted_config_keys_exist(page: Path) -> None:
    """Names such as `generation.seeds`; those of modules (`audioptq.a.b`) and files are left out."""
    sections = {name: {field.name for field in dataclasses.fields(kind)} for name, kind in SECTIONS.items()}
    for token in ticked(page):
        parts = token.split(".")
        if token in GONE:
            continue
        if not re.fullmatch(r"[a-z_]+(\.[a-z_]+)+", token) or parts[-1] in FILE_ENDINGS or parts[0] not in {
            *CONFIG, *sections
        }:  # fmt: skip
            continue
        if parts[0] in sections:
            assert parts[1] in sections[parts[0]], f"{name_of(page)}: {token}"
            continue
        value: Any = CONFIG
        for part in parts:
            assert isinstance(value, dict), f"{name_of(page)}: {token}"
            assert part in value, f"{name_of(page)}: {token}"
            value = value[part]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_experiments_are_legal(name: str) -> None:
    check_config(merged(copy.deepcopy(CONFIG), EXPERIMENTS[name]), SCHEMA)


def targets() -> list[re.Pattern[str]]:
    """Patterns of rule names and of the files that rules write."""
    rules = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "Snakefile", *ROOT.glob("rules/*.smk")))
    patterns = [re.escape(name) for name in re.findall(r"^rule (\w+):", rules, re.MULTILINE)]
    for path in re.findall(r"f\"\{RESULTS\}(/[^\"]+)\"", rules):
        pieces = re.split(r"\{+\w+\}+", path)
        patterns.append(r"results(/\w+)?" + r"[^/]+".join(re.escape(piece) for piece in pieces))
    return [re.compile(pattern) for pattern in patterns]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_name_what_exists(page: Path) -> None:
    make_targets = re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    known, n_rules = targets(), len(targets())
    assert n_rules > 10, "the rules could not be read"
    for line in "\n".join(fenced(page, "sh")).splitlines():
        words = shlex.split(line, comments=True)
        if words[:1] == ["make"]:
            named = [word for word in words[1:] if "=" not in word]
            assert set(named) <= set(make_targets), f"{name_of(page)}: {line}"
        if words[:1] != ["snakemake"]:
            continue
        takes_value = ""
        for word in words[1:]:
            if word.startswith("-"):
                takes_value = word
            elif takes_value == "--configfile" and word.endswith(".yaml"):
                assert word in EXPERIMENTS or (ROOT / word).exists(), f"{name_of(page)}: {line}"
            elif takes_value == "--workflow-profile":
                assert (ROOT / word / "config.yaml").exists(), f"{name_of(page)}: {line}"
            elif takes_value in (
                "--cores",
                "--resources",
                "--quiet",
                "--profile",
                "--jobs",
                "--config",
                "--report",
                "--set-threads",
            ):
                takes_value = "" if takes_value == "--cores" else takes_value
            else:
                assert any(pattern.fullmatch(word) for pattern in known), f"{name_of(page)}: {line}: {word}"


def test_error_texts_in_the_troubleshooting_table_are_real() -> None:
    text = (ROOT / "docs/running.md").read_text(encoding="utf-8").partition("## Troubleshooting")[2]
    fragments = re.findall(r"^\| `([^`]+)` \|", text, re.MULTILINE)
    assert len(fragments) > 15
    source = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py"))
    assert [fragment for fragment in fragments if fragment not in source] == []


def test_citation_is_complete_and_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors", "version", "license", "type"} <= set(citation)
    assert str(citation["version"]) == audioptq.__version__
    assert f'version = "{audioptq.__version__}"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f"## [{audioptq.__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    for reference in citation["references"]:
        assert {"type", "title", "authors"} <= set(reference)


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CITATION.cff", ROOT / "docs/stages.svg"], ids=name_of)
def test_no_machine_paths_and_no_downloads_from_a_hub(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    machine = r"(?<![\w.])/(?:tmp|home|root|work|mnt|Users)/"
    download = r"huggingface-cli|\bhf download|huggingface\.co|\bwget\b|\bcurl\b"
    assert re.findall(f"{machine}|{download}", text) == []
