"""A small finished run, tests built from it, and listeners that are simulated and say so."""

import copy
import json
import random
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from audioptq.audio.clips import write_clip
from audioptq.files.artifacts import write_parquet
from audioptq.listen.answers.file import canonical
from audioptq.listen.build import TestSettings, build_test
from audioptq.listen.key import sign

RATE = 16_000
SECONDS = 1.0
HOSTILE = "=HYPERLINK(\"x\") </script><script>document.title='broken'</script><img src=x onerror=alert(1)> {{7*7}} l'été 雨 |`a`|"
CAPTIONS = ["A dog barks", "A siren", "Rain falls", "A dog in the rain", HOSTILE, "A bell", "A drum"]
LABELS = ["dog", "siren", "rain", "dog|rain", "whistle", "bell", "drum"]
NOISE = {"fp32": 0.0, "w8a8_sqs": 0.02, "w8a8_sqd_lora": 0.01, "w4a4_sqs": 0.5}


def tone(index, noise, channels, rate=RATE, seconds=SECONDS):
    """A decaying chord of its own for each prompt, with noise; clips differ in loudness by up to 20 dB."""
    rng = np.random.default_rng(index)
    time = np.arange(round(seconds * rate)) / rate
    wave = sum(np.sin(2 * np.pi * (300 + 170 * index) * k * time) / k for k in (1, 2, 3)) * np.exp(-time)
    wave = np.stack([wave * (1 - 0.3 * channel) for channel in range(channels)])
    return (0.1 + 0.3 * noise) * (wave + noise * rng.standard_normal(wave.shape))


def make_run(folder, channels=1, rate=RATE, seconds=SECONDS, silent=()):
    """Writes prompts, manifests and clips as the workflow does; `silent` names pairs of recipe and clip index."""
    ids = [f"clip-{index}" for index in range(len(CAPTIONS))]
    prompts = pd.DataFrame(
        {
            "clip_id": ids,
            "caption": CAPTIONS,
            "reference_id": ids,
            "kind": "single",
            "labels": LABELS,
            "seconds_total": seconds,
        }
    )
    write_parquet(folder / "prompts/sounds.parquet", prompts, {})
    for recipe, noise in NOISE.items():
        here = folder / "generate/toy" / recipe / "seed7"
        rows = []
        for index, clip_id in enumerate(ids):
            audio = tone(index, noise, channels, rate, seconds) * (0.0 if (recipe, index) in silent else 1.0)
            record = write_clip(here / "clips" / f"{clip_id}.flac", audio, rate, 24)
            rows.append(
                vars(record)
                | {"clip_id": clip_id, "caption": CAPTIONS[index], "seed": 7, "path": f"clips/{clip_id}.flac"}
            )
        write_parquet(here / "shard-0000.parquet", pd.DataFrame(rows), {"recipe": recipe, "model": "toy", "seed": 7})
    return folder


@pytest.fixture(scope="session")
def results(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("run") / "results")


@pytest.fixture(scope="session")
def built(results, tmp_path_factory):
    """A folder and key of each mode; read only."""
    root = tmp_path_factory.mktemp("built")
    tests = {}
    for mode in ("rating", "mushra", "abx"):
        settings = TestSettings(mode=mode, seed=3, repeats=2 if mode == "abx" else None)
        tests[mode] = (root / mode, build_test(results, root / mode, settings, say=lambda text: None))
    return tests


def simulated_answers(key, judge, index=0, questions=None, name=None, comment=""):
    """What a simulated listener hands in.

    `judge(random, variant)` gives a rating, or of an ABX whether X is recognised.
    """
    rng = random.Random(f"{key.test} {index}")
    answers = []
    for question in key.questions[:questions]:
        answer = {"question": question["id"], "heard": {}, "plays": 1, "ms": 900}
        if key.mode == "abx":
            (a, b), x = rng.sample(question["pair"], 2), rng.choice(question["x"])
            variants = {place: key.clips[token]["variant"] for place, token in (("a", a), ("b", b), ("x", x))}
            right = "a" if variants["a"] == variants["x"] else "b"
            other = next(variant for variant in (variants["a"], variants["b"]) if variant != "fp32")
            wrong = "ab".replace(right, "")
            answer |= {"a": a, "b": b, "x": x, "choice": right if judge(rng, other) else wrong}
        else:
            answer["values"] = {token: judge(rng, key.clips[token]["variant"]) for token in question["rated"]}
        answers.append(answer)
    body = {
        "format": "audioptq-listening-answers",
        "version": 1,
        "test": key.test,
        "stamp": key.stamp,
        "mode": key.mode,
        "listener": {"id": f"{index:016x}", "name": f"simulated {index}" if name is None else name},
        "simulated": True,
        "started": "2026-01-01T00:00:00.000Z",
        "saved": f"2026-01-01T00:{index % 60:02d}:00.000Z",
        "complete": questions is None,
        "comment": comment,
        "order": [question["id"] for question in key.questions],
        "answers": answers,
    }
    return signed(key, body)


def signed(key, body):
    body = {name: value for name, value in copy.deepcopy(body).items() if name not in ("checksum", "receipt")}
    return {**body, "checksum": sign(key.stamp, canonical(body))}


def save(folder, *records):
    """A file for each record; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{index:03d}.json" for index in range(len(records))]
    for path, record in zip(paths, records, strict=True):
        path.write_text(json.dumps(record, ensure_ascii=False), encoding="utf-8")
    return paths


@pytest.fixture(scope="session")
def tools():
    """The functions above, for tests that need other runs and listeners."""
    return SimpleNamespace(
        make_run=make_run,
        answers=simulated_answers,
        signed=signed,
        save=save,
        hostile=HOSTILE,
    )
