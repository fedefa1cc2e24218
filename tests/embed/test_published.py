import pickle
import subprocess
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from audioptq.embed.published import convert, read_tensor_table
from audioptq.errors import DamagedArtifactError, UserError
from audioptq.files.artifacts import read_tensors, write_tensors

CLASSES = 7


def prompts_of(clip_ids: list[str]) -> pd.DataFrame:
    return pd.DataFrame({"clip_id": clip_ids, "caption": clip_ids, "reference_id": clip_ids})


def row(seed: int) -> torch.Tensor:
    return torch.softmax(torch.randn(CLASSES, generator=torch.Generator().manual_seed(seed)), dim=0)


def pickled(path: Path, table: object) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torch warns of its own storages
        path.write_bytes(pickle.dumps(table))
    return path


def test_a_dictionary_of_tensors_becomes_rows_of_the_prompts(tmp_path) -> None:
    # As published: whole numbers for ids, tensors pickled with pickle itself; views have offset and stride.
    table = {103: row(0), 7: row(1), 55: torch.stack([row(2), row(3)])[1]}
    path = pickled(tmp_path / "p.pkl", table)
    tensors, metadata = convert(path, "passt", prompts_of(["55", "9", "103"]))
    assert metadata["clip_ids"] == ["55", "103"]
    assert metadata["excluded"] == {"9": "no reference"}
    assert metadata["embedder"] == "passt"
    np.testing.assert_array_equal(tensors["probabilities"], torch.stack([row(3), row(0)]).numpy())
    write_tensors(tmp_path / "t.safetensors", tensors, metadata)
    assert read_tensors(tmp_path / "t.safetensors", framework="np")[1] == metadata


def test_the_source_is_named_by_both_digests(tmp_path) -> None:
    path = pickled(tmp_path / "p.pkl", {1: row(0)})
    source = convert(path, "passt", prompts_of(["1"]))[1]["source"]
    git = subprocess.run(["git", "hash-object", str(path)], capture_output=True, text=True, check=True)
    assert source["git_blob"] == git.stdout.strip()
    assert source["file"] == "p.pkl"
    assert len(source["sha256"]) == 64


class Malicious:
    def __init__(self, *call: object) -> None:
        self.call = call

    def __reduce__(self) -> tuple[object, ...]:
        return self.call[0], self.call[1:]


def refuse(path: Path) -> str:
    with pytest.raises(DamagedArtifactError, match=r"p\.pkl is not a table of tensors") as caught:
        read_tensor_table(path)
    return str(caught.value)


def test_code_in_a_pickle_is_refused_before_it_runs(tmp_path) -> None:
    import os

    trace = tmp_path / "trace"
    for call in ((os.system, f"touch {trace}"), (eval, f"open({str(trace)!r}, 'w')"), (getattr, "x", "upper")):
        assert "asks for" in refuse(pickled(tmp_path / "p.pkl", {1: row(0), 2: Malicious(*call)}))
        assert not trace.exists()


def test_code_in_a_tensors_own_bytes_is_refused(tmp_path) -> None:
    import io
    import os

    trace = tmp_path / "trace"
    inner = io.BytesIO()
    torch.save(Malicious(os.system, f"touch {trace}"), inner, _use_new_zipfile_serialization=False)
    path = pickled(tmp_path / "p.pkl", {1: Malicious(torch.storage._load_from_bytes, inner.getvalue())})
    refuse(path)
    assert not trace.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x80\x04N.",
        pickle.dumps({}),
        pickle.dumps([1, 2]),
        pickle.dumps({1: Path("x")}),
        b"ctorch._utils\n_rebuild_tensor_v2\n}X\x01\x00\x00\x00aK\x01sb.",
    ],
    ids=["empty", "none", "no clips", "a list", "a class", "state of a function"],
)
def test_other_pickles_are_refused(tmp_path, content) -> None:
    (tmp_path / "p.pkl").write_bytes(content)
    refuse(tmp_path / "p.pkl")


def test_a_cut_off_or_missing_file_is_named(tmp_path) -> None:
    path = pickled(tmp_path / "p.pkl", {1: row(0), 2: row(1)})
    path.write_bytes(path.read_bytes()[:-40])
    refuse(path)
    path.unlink()
    refuse(path)


@pytest.mark.parametrize(
    "bad",
    [
        torch.full((CLASSES,), float("nan")),
        torch.full((CLASSES,), 0.5),
        torch.zeros(CLASSES),
        torch.eye(CLASSES)[0] * 2 - torch.eye(CLASSES)[1],
        row(0)[None],
        "text",
    ],
    ids=["not a number", "sigmoids", "zero", "negative", "two-dimensional", "no tensor"],
)
def test_what_are_no_probabilities_is_refused(tmp_path, bad) -> None:
    with pytest.raises(DamagedArtifactError, match=r"p\.pkl is not a table of probabilities.*'?5"):
        convert(pickled(tmp_path / "p.pkl", {4: row(0), 5: bad}), "passt", prompts_of(["4"]))


def test_rows_of_different_lengths_and_strange_ids_are_refused(tmp_path) -> None:
    for table in ({4: row(0), 5: torch.ones(1)}, {4: row(0), (1, 2): row(1)}):
        with pytest.raises(DamagedArtifactError, match="not a table of probabilities"):
            convert(pickled(tmp_path / "p.pkl", table), "passt", prompts_of(["4", "5"]))


def test_a_file_of_another_data_set_is_the_users_mistake(tmp_path) -> None:
    path = pickled(tmp_path / "p.pkl", {4: row(0)})
    with pytest.raises(UserError, match=r"None of the 1 clips of .*p\.pkl .*'4'.* 'yt-4'"):
        convert(path, "passt", prompts_of(["yt-4"]))
    with pytest.raises(UserError, match=r"p\.bin are neither"):
        convert(path.rename(tmp_path / "p.bin"), "passt", prompts_of(["4"]))


def test_mean_and_covariance_keep_their_precision(tmp_path) -> None:
    windows = np.random.default_rng(0).standard_normal((50, 6))
    path = tmp_path / "r.npz"
    np.savez(path, mu_ref=windows.mean(axis=0), sigma_ref=np.cov(windows, rowvar=False))
    tensors, metadata = convert(path, "openl3", prompts_of(["1"]))
    np.testing.assert_array_equal(tensors["mean"], windows.mean(axis=0))
    np.testing.assert_array_equal(tensors["covariance"], np.cov(windows, rowvar=False))
    assert (metadata["embedder"], metadata["n_windows"]) == ("openl3", None)


def test_published_windows_are_those_of_openl3s_default_variant(tmp_path) -> None:
    from audioptq.embed.openl3 import WEIGHTS
    from audioptq.embed.published import MADE_WITH

    np.savez(tmp_path / "r.npz", mu_ref=np.zeros(2), sigma_ref=np.eye(2))
    assert convert(tmp_path / "r.npz", "openl3", prompts_of(["1"]))[1]["frontend"] == "kapre 0.3.7"
    assert next(iter(WEIGHTS)) == "mel256-env-512"
    source = Path(__import__("audioptq.embed.openl3", fromlist=["x"]).__file__).read_text(encoding="utf-8")
    assert f'"{MADE_WITH["openl3"]["frontend"]}"' in source


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"mu_ref": np.zeros(3)}, "sigma_ref"),
        ({"mu_ref": np.zeros(3), "sigma_ref": np.eye(4)}, "shapes"),
        ({"mu_ref": np.zeros(3), "sigma_ref": np.full((3, 3), np.nan)}, "not finite"),
        ({"mu_ref": np.array([{"a": 1}, None], dtype=object), "sigma_ref": np.eye(2)}, "allow_pickle"),
    ],
    ids=["absent", "shapes", "not a number", "objects"],
)
def test_other_archives_are_named(tmp_path, arrays, message) -> None:
    np.savez(tmp_path / "r.npz", **arrays)
    with pytest.raises(DamagedArtifactError, match=rf"r\.npz is not .*{message}"):
        convert(tmp_path / "r.npz", "openl3", prompts_of(["1"]))
    (tmp_path / "r.npz").write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(DamagedArtifactError, match=r"r\.npz is not"):
        convert(tmp_path / "r.npz", "openl3", prompts_of(["1"]))
