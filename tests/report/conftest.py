"""A small run, synthesised through the library's own writers: four recipes, two seeds of fp32, six prompts."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from audioptq.files.artifacts import file_digest, write_json, write_parquet, write_tensors
from audioptq.report.measure.inputs import ReportInputs
from audioptq.score.table import clip_table, set_table

HOSTILE = "<script>document.title='broken'</script> & \"quotes\", commas, l'été, naïve, 雨 $x_1$ {{ 7 * 7 }} </style>"
RECIPES = {
    "fp32": {},
    "w8a8_sqd": {
        "weight": {"bits": 8, "granularity": "per_channel"},
        "activation": {"bits": 8, "range": "dynamic", "granularity": "per_token"},
        "smoothing": {"kind": "timestep", "alpha": 0.5, "form": "stored"},
    },
    "w4a8_rtn": {"weight": {"bits": 4}, "activation": {"bits": 8}},
    "w4a4_sqs": {
        "weight": {"bits": 4},
        "activation": {"bits": 4, "range": "static"},
        "smoothing": {"kind": "static", "alpha": 0.5},
    },
}
# How far each recipe is from fp32, in the units of `write_run`.
LOSS = {"fp32": 0.0, "w8a8_sqd": 0.0005, "w4a8_rtn": 0.06, "w4a4_sqs": 0.2}
SIZES = {"fp32": 40_000_000, "w8a8_sqd": 11_200_000, "w4a8_rtn": 6_400_000, "w4a4_sqs": 6_500_000}
SECONDS = {"fp32": 0.40, "w8a8_sqd": 0.31, "w4a8_rtn": 0.33, "w4a4_sqs": 0.30}
SAMPLE_RATE = 16_000


@dataclass
class Scores:
    """Writes score files as the score stage does."""

    folder: Path
    paths: list[Path] = field(default_factory=list)

    def write(self, recipe: str, seed: int, metric: str, frame: pd.DataFrame) -> Path:
        path = self.folder / recipe / f"seed{seed}" / f"{metric}.parquet"
        metadata = {
            "metric": metric,
            "model": "mini",
            "recipe": recipe,
            "seed": seed,
            "n_clips": len(frame),
            "higher_is_better": True,
        }
        write_parquet(path, frame, metadata)
        self.paths.append(path)
        return path

    def clips(self, recipe: str, seed: int, metric: str, values: dict[str, float | None]) -> Path:
        known = {clip_id: value for clip_id, value in values.items() if value is not None}
        notes = {clip_id: "silent" for clip_id, value in values.items() if value is None}
        return self.write(recipe, seed, metric, clip_table(metric, list(values), values=known, notes=notes))

    def whole(self, recipe: str, seed: int, metric: str, estimate: float, replicates: list[float]) -> Path:
        return self.write(recipe, seed, metric, set_table(metric, estimate=estimate, replicates=replicates, notes={}))


@pytest.fixture
def scores(tmp_path):
    return Scores(tmp_path / "score")


def write_prompts(path: Path, clip_ids, reference_ids, captions=None) -> Path:
    n = len(clip_ids)
    frame = pd.DataFrame(
        {
            "clip_id": clip_ids,
            "caption": captions or [f"a bell, number {index}" for index in range(n)],
            "reference_id": reference_ids,
            "reference_path": [None] * n,
            "seconds_total": [1.0] * n,
            "kind": ["single"] * n,
            "labels": ["bell"] * n,
        }
    )
    write_parquet(path, frame, {"dataset": "test"})
    return path


def write_run(folder: Path, recipes=None, n_prompts: int = 6, caption: str = HOSTILE) -> ReportInputs:
    recipes = RECIPES if recipes is None else recipes
    rng = np.random.default_rng(0)
    clip_ids = [f"clip-{index:02d}" for index in range(n_prompts)]
    captions = [caption, *(f"a dog barks while rain falls, take {index}" for index in range(1, n_prompts))]
    prompts = write_prompts(
        folder / "prompts.parquet", clip_ids, [f"ref-{index}" for index in range(n_prompts)], captions
    )
    scores = Scores(folder / "score")
    manifests, sizes, layers = {}, {}, {}
    runs = [(recipe, 0) for recipe in recipes] + [("fp32", 1)]
    base = {metric: rng.normal(0.3, 0.05, n_prompts) for metric in ("clap_mini", "kl_mini")}
    for recipe, seed in runs:
        loss = LOSS.get(recipe, 0.02) + (0.01 if seed else 0.0)
        silent = clip_ids[-1] if recipe == "w4a4_sqs" else None
        jitter = rng.normal(0, 0.1 * loss + 0.002 * seed, n_prompts)
        write_scores(scores, recipe, seed, clip_ids, base, loss, jitter, silent)
        path = write_clips(folder / "generate" / recipe / f"seed{seed}", recipe, seed, clip_ids, captions, loss, silent)
        manifests.setdefault(recipe, []).append(path)
        sizes[recipe] = folder / "quantize" / recipe / "size.json"
        total = SIZES.get(recipe, 9_000_000)
        components = {"denoiser": int(total * 0.8), "conditioner": int(total * 0.15), "pretransform": int(total * 0.05)}
        write_json(
            sizes[recipe],
            {
                "total": total,
                "components": components,
                "parts": {"qdata": int(total * 0.7)},
                "denoiser_fp32": 32_000_000,
            },
        )
        if recipes.get(recipe):
            layers[recipe] = folder / "quantize" / recipe / "layers.parquet"
            names = [f"transformer.layers.{index}.ff" for index in range(8)]
            write_parquet(layers[recipe], pd.DataFrame({"layer": names, "sqnr_db": np.linspace(18, 42, 8)}), {})
    tensors = activation_tensors(rng)
    write_tensors(folder / "act_stats.safetensors", tensors["stats"], {"model": "mini"})
    where = {"layer": "transformer.layers.5.ff", "sigma": 0.72, "step": 14, "n_steps": 20, "alpha": 0.5}
    write_tensors(folder / "activation_map.safetensors", tensors["map"], where)
    return ReportInputs(
        model="mini",
        recipes=recipes,
        scores=scores.paths,
        prompts=prompts,
        manifests=manifests,
        sizes=sizes,
        layers=layers,
        compute={"w8a8_sqd": "integer", "w4a8_rtn": "integer"},
        noise_floor_seed=1,
        margins={"clap": 0.01, "kl": {"relative": 0.05}, "fd": {"relative": 0.05}},
        act_stats=folder / "act_stats.safetensors",
        activation_map=folder / "activation_map.safetensors",
        listen=clip_ids[:2],
        published=[
            {
                "recipe": "fp32",
                "clap_mini": 0.29,
                "kl_mini": 2.14,
                "fd_mini": 2.9,
                "source": "Evans et al. 2024, <Table 1>",
            },
            {"recipe": "int8", "clap_mini": 0.2801, "size_ratio": 0.25, "source": "Evans et al. 2024, <Table 1>"},
        ],
        card={"parameters": "8.4 M", "data": {"clips": 9000}, "licence": "Apache-2.0"},
        facts={"sampler": "dpmpp-3m-sde", "steps": 20, "guidance": 3.0, "versions": {"torch": "2.13.0"}},
        n_replicates=200,
    )


def write_scores(scores, recipe, seed, clip_ids, base, loss, jitter, silent) -> None:
    def by_clip(values):
        return {
            clip_id: None if clip_id == silent else float(value)
            for clip_id, value in zip(clip_ids, values, strict=True)
        }

    scores.clips(recipe, seed, "clap_mini", by_clip(base["clap_mini"] - loss + jitter))
    scores.clips(recipe, seed, "kl_mini", by_clip(base["kl_mini"] + 2 * loss + jitter))
    draws = np.random.default_rng(7).normal(3.4 + 20 * loss, 0.2, 50)
    scores.whole(recipe, seed, "fd_mini", 3.0 + 20 * loss, [float(draw) for draw in draws])
    if (recipe, seed) != ("fp32", 0):
        scores.clips(
            recipe, seed, "mcd_db", by_clip(np.full(len(clip_ids), 8.0 if seed else 40 * loss) + np.abs(jitter))
        )


def write_clips(folder, recipe, seed, clip_ids, captions, loss, silent) -> Path:
    time = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    rows = []
    folder.mkdir(parents=True)
    for index, clip_id in enumerate(clip_ids):
        noise = np.random.default_rng(index).normal(0, 0.02 + loss, len(time))
        wave = (
            0.0 * time
            if clip_id == silent
            else 0.4 * np.sin(2 * np.pi * (300 + 90 * index) * time**1.2) * np.exp(-2 * time) + noise
        )
        file = folder / f"{clip_id}.flac"
        soundfile.write(file, np.clip(wave, -1, 1), SAMPLE_RATE, subtype="PCM_24")
        rows.append(
            {
                "clip_id": clip_id, "caption": captions[index], "reference_id": f"ref-{index // 2}", "seed": seed,
                "path": f"{clip_id}.flac", "sample_rate": SAMPLE_RATE, "n_samples": len(time), "peak": 0.5, "gain": 1.0,
                "clipped_fraction": 0.0, "status": "silent" if clip_id == silent else "ok",
                "seconds": SECONDS.get(recipe, 0.35), "batch": index, "sha256": file_digest(file),
            }
        )  # fmt: skip
    path = folder / "shard-000.parquet"
    write_parquet(path, pd.DataFrame(rows), {"recipe": recipe})
    return path


def activation_tensors(rng) -> dict[str, dict[str, np.ndarray]]:
    steps, channels, tokens = 20, 96, 64
    gain = np.exp(rng.normal(0, 0.4, channels))
    gain[[11, 40, 77]] *= 12
    growth = np.linspace(1, 3, steps)[:, None]
    absmax = (growth * gain * 3).astype(np.float32)
    stats = {"levels": np.geomspace(500, 0.3, steps).astype(np.float32)}
    stats |= {
        f"transformer.layers.{i}.ff.{kind}": sign * absmax
        for i in (0, 5)
        for kind, sign in (("absmax", 1), ("min", -0.8), ("max", 1))
    }
    weight = rng.normal(0, 0.05, (48, channels)).astype(np.float32)
    activation = (rng.normal(0, 1, (tokens, channels)) * gain).astype(np.float32)
    contiguous = {name: np.ascontiguousarray(tensor, dtype=np.float32) for name, tensor in stats.items()}
    return {"stats": contiguous, "map": {"activation": activation, "weight": weight}}


@pytest.fixture(scope="session")
def make_run():
    """`make_run(folder)` writes a small run and returns its report's inputs."""
    return write_run


@pytest.fixture(scope="session")
def hostile():
    """The caption of the first clip of every small run."""
    return HOSTILE


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """The report of `write_run`: (inputs, folder)."""
    from audioptq.report.run import build_report

    folder = tmp_path_factory.mktemp("run")
    inputs = write_run(folder)
    build_report(inputs, folder / "report")
    return inputs, folder / "report"
