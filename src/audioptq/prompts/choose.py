"""Which prompts of a file a data set keeps: a named set of ids, those with reference audio; and how many there must be."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from audioptq.errors import UserError


def named_subset(prompts: pd.DataFrame, path: str | Path) -> pd.DataFrame:
    """The prompts whose ids a text file lists, in the prompts' order.

    Args:
        prompts: With `clip_id` and `reference_id`.
        path: UTF-8 text, an id a line; empty lines and lines that begin with `# ` are left out. Either all of the ids are
            reference ids, and every caption of each is kept, or all are clip ids.

    Raises:
        UserError: If the file cannot be read or lists no ids, or ids that the prompts have not.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise UserError(
            f"The list of ids {path} cannot be read: {error}. Set datasets.<name>.subset to a UTF-8 text file with an id a line."
        ) from error
    ids = {line.strip() for line in lines if line.strip() and not line.startswith("# ")}
    if not ids:
        raise UserError(
            f"The list of ids {path} names none: write an id a line, or set datasets.<name>.subset to null."
        )
    unknown = {column: ids - set(prompts[column]) for column in ("reference_id", "clip_id")}
    column = min(unknown, key=lambda name: len(unknown[name]))
    if unknown[column]:
        raise UserError(
            f"The list of ids {path} has {len(unknown[column])} of {len(ids)} that the prompts have not as {column}, such as "
            f"{min(unknown[column])!r}. Every line must be a reference id, or every line a clip id: mend datasets.<name>.subset."
        )
    return prompts[prompts[column].isin(ids)].reset_index(drop=True)


def with_reference(prompts: pd.DataFrame) -> pd.DataFrame:
    """The prompts whose reference audio is there.

    Raises:
        UserError: If there is none.
    """
    kept = prompts[prompts["reference_path"].notna()].reset_index(drop=True)
    if kept.empty:
        raise UserError(
            "No prompt of the data set has reference audio, and datasets.<name>.available_only keeps only those that have: set "
            "datasets.<name>.reference_dir to the folder of the audio (for audio that the rule `references` fetches, the folder "
            "`clips` beside its manifest), or available_only to false."
        )
    return kept


def check_expected(prompts: pd.DataFrame, expect: Mapping[str, int], source: str) -> None:
    """Checks how many captions (`clips`) and different references (`references`) there are.

    Raises:
        UserError: If a number is another one.
    """
    found = {"clips": len(prompts), "references": prompts["reference_id"].nunique()}
    for key, number in expect.items():
        if found[key] != number:
            raise UserError(
                f"{source} has {found['clips']} captions of {found['references']} references, and datasets.<name>.expect has "
                f"{key}: {number}. A file or a list is not the one that is meant (is it whole?), or the number must be mended."
            )
