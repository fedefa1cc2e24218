"""Rule listening_analysis: what the answers to a listening test show."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import audioptq.runs.job as job
from audioptq.errors import UserError
from audioptq.listen.analyse.findings import find
from audioptq.listen.analyse.sentences import summary
from audioptq.listen.analyse.write import write

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def analyse(key: str, answers: Sequence[str], folder: str | Path, log: Callable[[str], None]) -> None:
    """Analyses answers and writes the section, the figure and the judgements into `folder`."""
    if not answers:
        raise UserError(
            f"No answers have come in: collect some with `audioptq listen serve {key.removesuffix('.key.json')}`, or put files "
            "that listeners sent into the folder listening/answers of the results."
        )
    found = find(key, answers)
    write(found, folder)
    for line in summary(found.record):
        log(line)


if __name__ == "__main__":
    with job.log(snakemake.log[0]) as log:
        folder = Path(snakemake.output.record).parent
        analyse(snakemake.params.key, list(snakemake.input.get("answers") or []), folder, log)
