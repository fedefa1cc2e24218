"""What must hold when a disturbed run has been resumed."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from tests.chaos.workspace import Workspace, fingerprint

# A job of Slurm ends a moment after its last word.
SECONDS_TO_END = 30.0


def check(space: Workspace, expected: pd.DataFrame) -> None:
    """Fails on a table that differs, a batch made twice, or anything left undone or lying about."""
    pd.testing.assert_frame_equal(space.table(), expected, check_exact=True)
    finished = {path: before for files in space.kept.values() for path, before in files.items()}
    again = [str(path) for path, before in finished.items() if fingerprint(path) != before]
    assert again == [], f"finished batches were generated again: {again}"
    used = [f"{path} by {job['rule']}" for path in space.damaged for job in users_of(space, path)]
    assert used == [], f"damaged files were used: {used}"
    status, output = space.finish("--dry-run")
    assert status == 0, output[-3000:]
    assert "Nothing to be done" in output, output[-3000:]
    assert space.await_quiet(SECONDS_TO_END), "processes are left"
    assert [str(path) for path in space.results.rglob("*.tmp")] == [], "temporary files are left"
    assert space.locks() == [], "a lock is left"


def users_of(space: Workspace, damaged: Path) -> Iterator[dict[str, Any]]:
    """Jobs that finished with a damaged file among their inputs, as Snakemake recorded them; clips go by their manifests."""
    inode, since = space.damaged[damaged]
    if not damaged.exists() or damaged.stat().st_ino != inode:
        return
    listed_in = [str(path.relative_to(space.folder)) for path in damaged.parent.parent.glob("shard-*.parquet")]
    for record in space.folder.glob(".snakemake/metadata/**/*"):
        job = json.loads(record.read_text()) if record.is_file() else {"starttime": 0}
        if (job["starttime"] or 0) < since:
            continue
        reads_clips = job["rule"] in ("embed_clips", "score")
        of_shards = [shard for shard in listed_in if shard in job["input"] and lists(space.folder / shard, damaged)]
        if str(damaged.relative_to(space.folder)) in job["input"] or (reads_clips and of_shards):
            yield job


def lists(manifest: Path, clip: Path) -> bool:
    """Whether a shard's manifest lists a clip."""
    return any(manifest.parent / path == clip for path in pd.read_parquet(manifest)["path"])
