"""Which file stands for the reference of each prompt."""

from pathlib import Path

import pandas as pd

from audioptq.errors import DamagedArtifactError
from audioptq.files.artifacts import file_digest, read_parquet


def locate(prompts: pd.DataFrame, manifest: str | Path | None = None) -> pd.DataFrame:
    """The prompts with a path wherever there is reference audio: the data set's own, else the downloaded.

    Args:
        prompts: With `reference_id` and `reference_path` or null.
        manifest: Of downloaded clips, as the rule `references` writes it.

    Returns:
        A copy in which `reference_path` is null only where there is no audio; a silent clip counts as none, since no metric is
        defined on it.

    Raises:
        DamagedArtifactError: If the manifest or one of its clips is missing or altered.
    """
    paths = {} if manifest is None else _clips(Path(manifest))
    chosen = [
        paths.get(reference_id) if pd.isna(own) else str(own)
        for reference_id, own in zip(prompts["reference_id"], prompts["reference_path"], strict=True)
    ]
    return prompts.assign(reference_path=pd.Series(chosen, index=prompts.index, dtype=object))


def _clips(manifest: Path) -> dict[str, str]:
    table, _ = read_parquet(manifest, ["reference_id", "path", "sha256", "status"])
    paths = {}
    for row in table.itertuples():
        path = manifest.parent / str(row.path)
        if not path.is_file() or file_digest(path) != row.sha256:
            raise DamagedArtifactError(
                f"The reference clip {path} is missing or has been altered. Run `snakemake --forcerun references`: only this clip "
                "is downloaded again."
            )
        if row.status != "silent":
            paths[str(row.reference_id)] = str(path)
    return paths
