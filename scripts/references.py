"""Rule references: downloads the reference audio of a data set and says what is missing."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import audioptq.runs.job as job
from audioptq.files.artifacts import write_parquet, write_text
from audioptq.references.run import collect_references
from audioptq.references.source import AudioSource
from audioptq.references.tables import manifest_table, missing_text, summary
from audioptq.references.wanted import wanted_references

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

if __name__ == "__main__":
    with job.log(snakemake.log[0]) as log:
        output, dataset = snakemake.output, snakemake.params.dataset
        source = AudioSource.from_config(dataset["audio"])
        clips = Path(output.manifest).parent / "clips"
        records = collect_references(wanted_references(dataset, source), source, clips)
        write_text(output.missing, missing_text(records))
        metadata = {"dataset": snakemake.wildcards.dataset, "audio": dataset["audio"], "n_wanted": len(records)}
        write_parquet(output.manifest, manifest_table(records, source, clips.name), metadata)
        log(summary(records))
        print(summary(records), file=sys.stderr, flush=True)
