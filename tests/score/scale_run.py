"""Scores a recipe of AudioCaps' size in a process of its own, for test_scale: prints seconds and memory as JSON."""

import json
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

from audioptq.score.run import score_metrics
from audioptq.score.table import metric_info

METRICS = {"clap_laion": ("captions", 1), "kl_passt": ("references", 1), "fd_openl3": ("references", 10)}


def gemm_seconds(n_rows: int = 32_500, dim: int = 1024) -> float:
    """Time of a third of the products that one pass over the windows takes: `[97,500, 1024]` by `[1024, 1024]`."""
    block, square = np.ones((dim, dim)), np.ones((dim, dim))
    started = time.perf_counter()
    for _ in range(n_rows // dim):
        block @ square
    return time.perf_counter() - started


def peak_bytes() -> int:
    """Peak of this program alone: `ru_maxrss` would begin with the memory of the process that started it."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


def main(folder: Path) -> None:
    prompts = pd.read_parquet(folder / "prompts.parquet")
    manifest = prompts[["clip_id"]].assign(status="ok")
    seconds, processor, yardstick, settings = {}, 0.0, 0.0, {}
    for metric, (side, n_shards) in METRICS.items():
        yardstick += gemm_seconds()  # between the metrics, so that a machine that slows down slows both
        started, busy = time.perf_counter(), time.process_time()
        files = {
            "generated": [folder / f"{metric}-{shard}.safetensors" for shard in range(n_shards)],
            side: folder / f"{metric}-target.safetensors",
        }
        embeddings = {metric_info(metric).embedder: files}
        _, settings[metric] = score_metrics(
            [metric], manifest=manifest, prompts=prompts, embeddings=embeddings, n_replicates=400
        )[metric]
        seconds[metric] = time.perf_counter() - started
        processor += time.process_time() - busy
    kept = {name: record["n_scored"] for name, record in settings.items()}
    fd = settings["fd_openl3"]
    times = {"seconds": seconds, "processor_seconds": processor, "yardstick": yardstick}
    print(json.dumps({**times, "peak_bytes": peak_bytes(), "n_scored": kept, "fd": fd}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
