"""What must hold when a disturbed run has been resumed."""

import pandas as pd

from tests.chaos.workspace import Workspace, digest


def check(space: Workspace, expected: pd.DataFrame) -> None:
    """Fails on a table that differs, a batch made twice, or anything left undone or lying about."""
    pd.testing.assert_frame_equal(space.table(), expected, check_exact=True)
    again = [path for path, (sha256, written) in space.kept.items() if _differs(space, path, sha256, written)]
    assert again == [], f"finished batches were generated again: {again}"
    status, output = space.finish("--dry-run")
    assert status == 0, output[-3000:]
    assert "Nothing to be done" in output, output[-3000:]
    assert space.processes() == [], "processes are left"
    assert [str(path) for path in space.results.rglob("*.tmp")] == [], "temporary files are left"
    assert list((space.folder / ".snakemake/locks").iterdir()) == [], "a lock is left"


def _differs(space: Workspace, path: object, sha256: str, written: int) -> bool:
    if path in space.damaged:
        return False
    return path.stat().st_mtime_ns != written or digest(path) != sha256  # type: ignore[attr-defined]
