"""experiments/stable_audio_open.yaml from gate to table: everything it downloads comes from a local hub, with random weights.

The model is scaled down; T5, CLAP, PaSST and OpenL3 are read from files of the published layout. Only what has to be smaller or
elsewhere is changed: steps, clips, recipes, and where the files lie.
"""

import csv
import hashlib
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
import yaml

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from hub_server import Fault, HubServer  # noqa: E402
from published_evaluators import clap, openl3, passt  # noqa: E402
from published_model import publish_stable_audio, publish_t5  # noqa: E402

pytestmark = pytest.mark.slow
MODEL = "stabilityai/stable-audio-open-1.0"
PAGE = f"https://huggingface.co/{MODEL}"
CAPTIONS = ['A man says, "hello" twice, while a dog barks', "Rain falls on a tin roof; <b>wind</b> blows", "Дождь"]
DROP_AFTER = 100_000  # bytes; less than any of the two files of weights that end so


def statistics(folder: Path) -> dict[str, Path]:
    """Reference statistics in stable-audio-metrics' layouts, for the first two captions' ids."""
    rng = np.random.default_rng(7)
    factor = rng.standard_normal((1024, 1024)) / 32
    np.savez(folder / "openl3.npz", mu_ref=rng.standard_normal(1024), sigma_ref=factor @ factor.T)
    probabilities = {f"{index}": torch.from_numpy(rng.dirichlet(np.ones(527)).astype(np.float32)) for index in (0, 1)}
    with (folder / "passt.pkl").open("wb") as handle:
        pickle.dump(probabilities, handle)
    return {"sam_openl3_audiocaps_test": folder / "openl3.npz", "sam_passt_audiocaps_test": folder / "passt.pkl"}


class World:
    """A copy of the project, a hub that has what it needs, and the user's configuration."""

    def __init__(self, folder: Path, server: HubServer) -> None:
        self.folder, self.server = folder / "project", server
        names = ("src", "scripts", "rules", "workflow", "profiles", "experiments", "Snakefile", "config.yaml")
        for name in names:
            copy: Callable[..., Any] = shutil.copytree if (ROOT / name).is_dir() else shutil.copyfile
            self.folder.mkdir(exist_ok=True)
            copy(ROOT / name, self.folder / name)
        (self.folder / "models").mkdir()
        files = self.publish(folder / "published")
        self.rewrite_table(files)
        self.write_experiment()

    def publish(self, folder: Path) -> dict[str, Path]:
        """Puts model, text encoder and evaluators where the table of weights says; the files by their names there."""
        model = publish_stable_audio(folder / "model")
        contents = {path.name: path for path in model.iterdir()}
        self.server.publish(MODEL, contents, gated=True)
        self.server.grant("hf_good", MODEL)
        text = publish_t5(folder / "t5")
        files = {"t5_base_config": text / "config.json", "t5_base_weights": text / "model.safetensors"}
        files["t5_base_tokenizer"] = text / "tokenizer.json"
        for name, writer in {"clap": clap, "passt": passt, "openl3": openl3}.items():
            (folder / name).mkdir()
            files |= writer.write(folder / name)
        return files | statistics(folder)

    def rewrite_table(self, files: dict[str, Path]) -> None:
        """The project's table of weights with the sizes and digests of these files, and this machine as the web."""
        table = self.folder / "workflow/weights.tsv"
        with table.open(newline="") as handle:
            rows = [row for row in csv.DictReader(handle, delimiter="\t") if row["name"] in files]
        repositories: dict[tuple[str, str], dict[str, Path]] = {}
        for row in rows:
            path = files[row["name"]]
            row["bytes"], row["sha256"] = str(path.stat().st_size), hashlib.sha256(path.read_bytes()).hexdigest()
            if row["url"].startswith("hf://"):
                owner, name, rest = row["url"].removeprefix("hf://").split("/", 2)
                inner, _, revision = rest.rpartition("@")
                repositories.setdefault((f"{owner}/{name}", revision), {})[inner] = path
            else:
                row["url"] = self.server.serve(row["file"], path)
        for (repository, revision), contents in repositories.items():
            self.server.publish(repository, contents, revision=revision)
        with table.open("w", newline="") as handle:
            writer = csv.DictWriter(handle, list(rows[0]), delimiter="\t", lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)

    def write_experiment(self) -> None:
        """A few captions with everything in them that a path, a table or a page could trip over."""
        path = self.folder / "captions.csv"
        frame = pd.DataFrame({"audiocap_id": range(3), "youtube_id": ["a", "b", "b"], "caption": CAPTIONS})
        frame.to_csv(path, index=False)
        dataset = {"path": "captions.csv", "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        changes = {
            "datasets": {"audiocaps": dataset | {"expect": {"clips": 3, "references": 2}}},
            "calibration": {"n_prompts": 1, "batch_size": 1},
            "sampler": {"steps": 2},
            "generation": {"clips_per_shard": 3, "batch_size": 2},
            "bootstrap": {"replicates": 100},
            "metrics": ["clap_laion", "kl_passt", "fd_openl3", "mcd_db"],
            "run": ["fp32", "w8a8_sqd"],
            "report": {"listen_prompts": 3},
        }
        (self.folder / "small.yaml").write_text(yaml.safe_dump(changes))

    def run(self, *arguments: str, token: str | None = "hf_good") -> subprocess.CompletedProcess[str]:
        """Runs the experiment as a user would, with further arguments."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        environment |= {"HF_ENDPOINT": self.server.url, "HF_HOME": str(self.folder / "hf"), "HF_HUB_OFFLINE": "1"}
        environment |= {"PYTHONPATH": str(self.folder / "src")} | ({"HF_TOKEN": token} if token else {})
        files = ["config.yaml", "experiments/stable_audio_open.yaml", "small.yaml"]
        command = ["snakemake", "--configfile", *files, "--cores", "2", *arguments]
        return subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=1800)

    @property
    def results(self) -> Path:
        return self.folder / "results/stable_audio_open"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("open")
    with HubServer() as server:
        yield World(folder, server)
    shutil.rmtree(folder)  # a gigabyte of random weights


def test_a_closed_gate_is_found_before_any_job(world: World) -> None:
    for token, words in ((None, "hf auth login"), ("hf_wrong", "token")):
        done = world.run(token=token)
        assert done.returncode != 0
        assert PAGE in done.stderr, done.stderr[-3000:]
        assert words in done.stderr
        assert "Traceback" not in done.stderr
    missing = (
        "models={stable_audio_open: {hub: stabilityai/stable-audio-open-1.1, revision: main, text_encoder: t5-base}}"
    )
    done = world.run("--config", missing)
    assert done.returncode != 0
    assert "stable-audio-open-1.1" in done.stderr
    assert not (world.results / "prompts").exists()


def test_a_wrong_file_stops_the_run_and_is_removed(world: World) -> None:
    world.server.faults["model.safetensors"] = [Fault(drop_after=DROP_AFTER, times=2)]
    world.server.faults["merges.txt"] = [Fault(flip_byte=10, times=-1)]
    done = world.run("--workflow-profile", "none")  # the project's own goes on with what does not need the file
    assert done.returncode != 0
    assert "merges.txt" in done.stderr
    assert "checksum" in done.stderr
    assert not list((world.folder / "downloads").rglob("merges.txt"))


def test_the_experiment_ends_with_its_table(world: World) -> None:
    del world.server.faults["merges.txt"]
    done = world.run()
    assert done.returncode == 0, done.stderr[-5000:]
    # Downloads of weights were cut off, and went on where they stopped.
    ranges = [request.headers.get("Range") for request in world.server.asked("model.safetensors")]
    assert any(given and given.startswith("bytes=") and given != "bytes=0-" for given in ranges), ranges
    table = pd.read_csv(world.results / "report/table.csv").set_index("recipe")
    assert table.index.tolist() == ["fp32", "w8a8_sqd"]
    for metric in ("clap_laion", "kl_passt", "fd_openl3", "mcd_db"):
        assert table[metric].notna().all(), metric
        assert table[[f"{metric}_low", f"{metric}_high"]].isna().all(axis=None)  # three clips carry no interval
    assert table.loc["w8a8_sqd", "mcd_db"] > 0
    manifest = pd.read_parquet(world.results / "generate/stable_audio_open/fp32/seed1000/shard-0000.parquet")
    clip = soundfile.info(str(world.results / "generate/stable_audio_open/fp32/seed1000" / manifest["path"][0]))
    assert (clip.frames, clip.samplerate, clip.channels, clip.subtype) == (441_000, 44100, 2, "PCM_16")
    scores = pd.read_parquet(world.results / "score/stable_audio_open/fp32/seed1000/kl_passt.parquet")
    assert scores.set_index("clip_id")["note"].notna().to_dict() == {"0": False, "1": False, "2": True}  # no reference


def test_the_report_sets_the_published_rows_beside_ours_and_judges_the_baseline(world: World) -> None:
    markdown = (world.results / "report/table.md").read_text(encoding="utf-8")
    page = (world.results / "report/report.html").read_text(encoding="utf-8")
    assert "78.24" in markdown
    assert "78.24" in page
    assert "outside" in markdown  # random weights are nowhere near
    assert "<b>wind</b>" not in page
    assert "&lt;b&gt;wind" in page


def test_a_second_run_does_nothing_and_asks_the_hub_nothing(world: World) -> None:
    before = len(world.server.requests)
    done = world.run(token=None)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Nothing to be done" in done.stdout + done.stderr
    assert len(world.server.requests) == before
