"""Rule prompts: writes the evaluation prompts and the calibration prompts of a data set."""

from pathlib import Path
from typing import TYPE_CHECKING

import audioptq.runs.job as job
from audioptq.files.artifacts import write_parquet
from audioptq.prompts.dataset import make_prompts

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

if __name__ == "__main__":
    with job.log(snakemake.log[0]) as log:
        output, params = snakemake.output, snakemake.params
        audio_dir = Path(output.prompts).with_suffix("")
        prompts, calibration = make_prompts(params.dataset, params.calibration, audio_dir)
        metadata = {"dataset": snakemake.wildcards.dataset, **params.dataset}
        write_parquet(output.prompts, prompts, metadata)
        write_parquet(output.calibration, calibration, {**metadata, "calibration": params.calibration})
        log(f"{len(prompts)} prompts, {len(calibration)} for calibration")
