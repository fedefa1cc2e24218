"""Rule prompts: writes the evaluation prompts and the calibration prompts of a data set."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import audioptq.runs.job as job
from audioptq.files.artifacts import write_parquet
from audioptq.prompts.dataset import make_prompts

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def write_prompts(
    name: str,
    dataset: Mapping[str, Any],
    calibration: Mapping[str, Any],
    *,
    evaluation_path: str,
    calibration_path: str,
    log: Callable[[str], None],
) -> None:
    """Writes both tables of the data set `name`; references that are synthesised lie beside them."""
    evaluation, subset = make_prompts(dataset, calibration, Path(evaluation_path).with_suffix(""))
    metadata = {"dataset": name, **dataset}
    write_parquet(evaluation_path, evaluation, metadata)
    write_parquet(calibration_path, subset, {**metadata, "calibration": calibration})
    log(f"{len(evaluation)} prompts, {len(subset)} for calibration")


if __name__ == "__main__":
    with job.log(snakemake.log[0]) as log:
        output, params = snakemake.output, snakemake.params
        write_prompts(
            snakemake.wildcards.dataset,
            params.dataset,
            params.calibration,
            evaluation_path=output.prompts,
            calibration_path=output.calibration,
            log=log,
        )
