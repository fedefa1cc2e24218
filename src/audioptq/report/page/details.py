"""The page's boxes of facts: each recipe's own, the run's, the model card's and other people's rows; and which clips it plays."""

import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from audioptq.files.artifacts import read_parquet
from audioptq.report.formats import DASH, bits
from audioptq.score.table import METRICS, MetricInfo

N_WORST_LAYERS = 5
PACKAGES = ("audioptq", "torch", "stable-audio-tools", "k-diffusion", "snakemake", "numpy")


def recipe_details(
    name: str,
    entry: Mapping[str, Any],
    row: Mapping[str, Any],
    size: Mapping[str, Any] | None,
    layers: pd.DataFrame | None,
    scores: pd.DataFrame,
    metrics: Mapping[str, MetricInfo],
) -> dict[str, Any]:
    """One recipe's own box: its entry, its size by part, its layers, and what was scored."""
    scored = []
    for metric, info in metrics.items():
        own = scores[(scores["metric"] == metric) & scores["clip_id"].notna()]
        if len(own):
            scored.append(
                (
                    info.label,
                    "as a set" if info.set_level else int(own["value"].notna().sum()),
                    int(own["value"].isna().sum()),
                )
            )
        elif info.set_level and (scores["metric"] == metric).any():
            scored.append((info.label, "as a set", 0))
    ratio = f", {row['size_ratio']:.2f} of full precision" if pd.notna(row["size_ratio"]) else ""
    mb = f", {row['size_bytes'] / 1e6:.1f} MB{ratio}" if pd.notna(row["size_bytes"]) else ""
    return {
        "name": name,
        "summary": f"{bits(row)}, {row['compute']}{mb}",
        "yaml": yaml.safe_dump({name: _plain(entry)}, sort_keys=False, allow_unicode=True, width=60).rstrip(),
        "size": size_parts(size) if size else [],
        "layers": layer_summary(layers, entry) if layers is not None else None,
        "scored": scored,
    }


def size_parts(size: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Components and then parts of a size record, with their share of the total."""
    total = max(int(size["total"]), 1)
    named = [
        *size.get("components", {}).items(),
        *((f"{DASH} {key}", value) for key, value in size.get("parts", {}).items()),
    ]
    return [
        {"name": key.replace("_", " "), "text": f"{value / 1e6:.3f} MB", "percent": round(100 * value / total, 2)}
        for key, value in named
    ]


def layer_summary(layers: pd.DataFrame, entry: Mapping[str, Any]) -> dict[str, Any] | None:
    """Number of layers, and the spread of their signal-to-quantization-noise ratio in dB; None when there is none.

    Args:
        layers: The recipe's `layers.parquet`.
        entry: The recipe's entry of the config.
    """
    if "sqnr_db" not in layers or not layers["sqnr_db"].notna().any():
        return None
    layers = layers[layers["quantized"].astype(bool)] if "quantized" in layers else layers
    sqnr_db = layers.set_index("layer")["sqnr_db"].astype(float)
    known = sqnr_db[np.isfinite(sqnr_db)].sort_values()
    summary = [
        ("Quantized layers", len(layers)),
        ("SQNR, median", f"{known.median():.1f} dB"),
        ("SQNR, lowest to highest", f"{known.min():.1f} to {known.max():.1f} dB"),
        *smoothing_vectors(layers),
        *dynamic_ranges(layers, entry),
    ]
    return {
        "facts": summary,
        "worst": [(str(layer), f"{value:.1f}") for layer, value in known.head(N_WORST_LAYERS).items()],
    }


def smoothing_vectors(layers: pd.DataFrame) -> list[tuple[str, str]]:
    """How many layers have how many smoothing vectors; nothing where none has more than one."""
    counts = layers["rows"].value_counts().sort_index() if "rows" in layers else pd.Series(dtype=int)
    if counts.empty or counts.index.max() <= 1:
        return []
    return [("Smoothing vectors", ", ".join(f"{rows} in {number} layers" for rows, number in counts.items() if rows))]


def dynamic_ranges(layers: pd.DataFrame, entry: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What a dynamic range per token is of, where some quantized layers are convolutions, whose input has no tokens."""
    activation = entry.get("activation") or {}
    if "kind" not in layers or activation.get("range") != "dynamic" or activation.get("granularity") != "per_token":
        return []
    n_linear = int((layers["kind"] == "linear").sum())
    n_convolutions = len(layers) - n_linear
    if not n_convolutions:
        return []
    return [("Dynamic ranges", f"per token in {n_linear} linear layers, per clip in {n_convolutions} convolutions")]


def flat_facts(record: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """A nested record as name and text; lists are joined, sub-records named `outer: inner`."""
    pairs: list[tuple[str, str]] = []
    for key, value in record.items():
        name = f"{prefix}{str(key).replace('_', ' ')}"
        if isinstance(value, Mapping):
            pairs += flat_facts(value, f"{name}: ")
        elif isinstance(value, list | tuple):
            pairs.append((name, ", ".join(map(str, value))))
        elif value is not None:
            pairs.append((name, str(value)))
    return pairs


def published_rows(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Columns (those of all rows in order of appearance, the source last) and cells; None without rows."""
    if not rows:
        return None
    columns = [*dict.fromkeys(key for row in rows for key in row if key != "source"), "source"]
    return {
        "columns": [METRICS[column].label if column in METRICS else column.replace("_", " ") for column in columns],
        "rows": [[DASH if row.get(column) is None else str(row[column]) for column in columns] for row in rows],
    }


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def run_facts(sampler: Mapping[str, Any], dataset: str, manifests: Sequence[str | Path]) -> dict[str, Any]:
    """Sampler, data set, words that never reached the model, machine and versions, for the page's last section.

    Args:
        sampler: The sampler's settings.
        dataset: Its name.
        manifests: Manifests of one recipe and seed.
    """
    facts: dict[str, Any] = {"data set": dataset, **{f"sampler {key}": value for key, value in sampler.items()}}
    dropped = pd.concat([read_parquet(path, ("dropped_words",))[0]["dropped_words"] for path in manifests])
    facts["words outside the vocabulary"] = (
        f"{dropped.sum()} words in {(dropped > 0).sum()} of {len(dropped)} captions were dropped (manifest column dropped_words)"
    )
    facts["machine"] = f"{platform.machine()}, {_processor()}, {os.cpu_count()} cores"
    facts["Python"] = platform.python_version()
    for package in PACKAGES:
        try:
            facts[package] = version(package)
        except PackageNotFoundError:
            facts[package] = "not installed"
    return facts


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.exists():
        return platform.processor() or "unknown processor"
    names = [
        line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")
    ]
    return names[0] if names else "unknown processor"


def spread(prompts: str | Path, n: int) -> list[str]:
    """Ids of `n` prompts, evenly spaced over the table."""
    clip_ids = read_parquet(prompts, ("clip_id",))[0]["clip_id"].tolist()
    n = min(n, len(clip_ids))
    return [clip_ids[index * len(clip_ids) // n] for index in range(n)]
