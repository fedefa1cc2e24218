"""The table of weights: the one that ships is sound, and one that is not is explained."""

import subprocess
import sys
from pathlib import Path

import pytest

from audioptq.errors import UserError
from audioptq.fetch.weights import COLUMNS, HubPlace, PackagePlace, weights_entries

TABLE = Path(__file__).parents[2] / "workflow/weights.tsv"
GOOD = {
    "name": "net",
    "file": "nets/net.pt",
    "url": "https://example.org/net.pt",
    "bytes": "12",
    "sha256": "",
    "licence": "MIT",
    "page": "https://example.org",
}


def write_table(path, *rows, columns=COLUMNS):
    lines = ["\t".join(columns), *("\t".join(row[column] for column in columns) for row in rows)]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_the_table_that_ships_is_sound():
    entries = weights_entries(TABLE)
    assert {
        "clap_630k_audioset_fusion_best",
        "roberta_vocab",
        "passt",
        "openl3_mel256_env_512",
        "vggish",
        "cnn14_16k",
    } <= set(entries)
    assert entries["vggish"].sha256.startswith("10086976")  # the first digits are in torch hub's file name
    for entry in entries.values():
        assert entry.page.startswith("https://")
        assert entry.url.startswith(("https://", "hf://", "package:"))
    pinned = [entry.hub for entry in entries.values() if entry.file.startswith(("t5-base/", "roberta-base/"))]
    assert all(place and len(place.revision) == 40 for place in pinned)


def test_the_page_names_every_row_with_its_licence_and_digest():
    lines = (TABLE.parents[1] / "docs/weights.md").read_text(encoding="utf-8").splitlines()
    cells = [[cell.strip(" |`") for cell in line.split(" | ")] for line in lines if line.startswith("| `")]
    rows = {row[0]: row for row in cells}
    for name, entry in weights_entries(TABLE).items():
        size, licence, digest = rows[name][2:5]
        assert licence == (entry.licence or "not stated"), name
        assert digest == {0: "first use", 44: "git", 64: "known"}[len(entry.sha256)], name
        assert (size == "not published") == (entry.bytes is None), name


def test_a_row_is_read_as_it_is_written(tmp_path):
    hub = GOOD | {"name": "hub", "file": "a.json", "url": "hf://acme/nets/sub/a.json@v1.0", "bytes": ""}
    inside = GOOD | {"name": "inside", "file": "b.zip", "url": "package:acme-nets==1.2/acme/net.zip"}
    entries = weights_entries(write_table(tmp_path / "w.tsv", GOOD, hub, inside))
    assert list(entries) == ["net", "hub", "inside"]
    assert entries["net"].bytes == 12
    assert entries["net"].hub is None
    assert entries["net"].path("/w") == Path("/w/nets/net.pt")
    assert entries["hub"].bytes is None
    assert entries["hub"].hub == HubPlace("acme/nets", "sub/a.json", "v1.0")
    assert entries["hub"].package is None
    assert entries["inside"].package == PackagePlace("acme-nets", "1.2", "acme/net.zip")


@pytest.mark.parametrize(
    "file",
    ["../net.pt", "/etc/net.pt", "a/../../net.pt", "a/..", "a\\..\\net.pt", "./net.pt", "", ".", "checksums.tsv"],
)
def test_a_file_that_leaves_the_folder_is_refused(tmp_path, file):
    table = write_table(tmp_path / "w.tsv", GOOD | {"file": file})
    with pytest.raises(UserError, match="must be a path that stays below the download folder") as caught:
        weights_entries(table)
    assert f"{table}, line 2" in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"url": "http://example.org/net.pt"}, "must be https"),  # an open connection to another host
        ({"url": "file:///etc/passwd"}, "must be https"),
        ({"url": "hf://acme/nets/a.json"}, "must be https"),  # without a revision
        ({"bytes": "1.9 GB"}, "number of bytes"),
        ({"sha256": "ABCDEF0123"}, "lower-case hex"),
        ({"sha256": "git:12"}, "lower-case hex"),
        ({"name": "a b"}, "letters, digits"),
    ],
)
def test_cells_that_cannot_be_are_refused(tmp_path, change, message):
    with pytest.raises(UserError, match=message):
        weights_entries(write_table(tmp_path / "w.tsv", GOOD | change))


def test_two_rows_may_not_share_a_name_or_a_file(tmp_path):
    for other in ({"file": "b.pt"}, {"name": "other"}):
        with pytest.raises(UserError, match=r"line 3: the name .* occurs twice"):
            weights_entries(write_table(tmp_path / "w.tsv", GOOD, GOOD | other))


def test_unknown_and_missing_columns_are_refused(tmp_path):
    for columns in ([*COLUMNS, "note"], COLUMNS[:-1]):
        table = write_table(tmp_path / "w.tsv", GOOD | {"note": ""}, columns=columns)
        with pytest.raises(UserError, match="it needs name, file, url") as caught:
            weights_entries(table)
        assert str(table) in str(caught.value)
    table.write_text("\t".join(COLUMNS) + "\nnet\tnet.pt\n")
    with pytest.raises(UserError, match="line 2: the row does not have 7 cells"):
        weights_entries(table)
    with pytest.raises(UserError, match=r"absent\.tsv cannot be read"):
        weights_entries(tmp_path / "absent.tsv")


def test_reading_the_table_is_light():
    heavy = ["torch", "requests", "huggingface_hub", "pandas"]
    code = f"import sys, audioptq.fetch.weights; print([m for m in {heavy} if m in sys.modules])"
    environment = {"PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
