"""Rule references: downloads the reference audio of a data set and says what is missing."""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import audioptq.runs.job as job
from audioptq.files.artifacts import write_parquet, write_text
from audioptq.references.run import collect_references
from audioptq.references.source import AudioSource
from audioptq.references.tables import manifest_table, missing_text, summary
from audioptq.references.wanted import wanted_references

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def download_references(
    name: str, dataset: Mapping[str, Any], manifest: Path, missing: str, log: Callable[[str], None]
) -> None:
    """Downloads the references of the data set `name` into `clips` beside the manifest, and lists those that are missing."""
    source = AudioSource.from_config(dataset["audio"])
    clips = manifest.parent / "clips"
    records = collect_references(wanted_references(dataset, source), source, clips)
    write_text(missing, missing_text(records))
    metadata = {"dataset": name, "audio": dataset["audio"], "n_wanted": len(records)}
    write_parquet(manifest, manifest_table(records, source, clips.name), metadata)
    log(summary(records))
    print(summary(records), file=sys.stderr, flush=True)


if __name__ == "__main__":
    with job.log(snakemake.log[0]) as log:
        output = snakemake.output
        dataset = snakemake.params.dataset
        download_references(snakemake.wildcards.dataset, dataset, Path(output.manifest), output.missing, log)
