"""How a run was made, and which of its clips the page plays."""

import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pandas as pd

from audioptq.files.artifacts import read_parquet

PACKAGES = ("audioptq", "torch", "stable-audio-tools", "k-diffusion", "snakemake", "numpy")


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
