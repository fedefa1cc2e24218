"""Post-screening of MUSHRA's listeners, by ITU-R BS.1534-3, section 4.1.2."""

from typing import Any

import pandas as pd

from audioptq.listen.stimuli.finished_run import BASELINE

LEAST_RATING, LARGEST_SHARE = 90, 0.15


def screen(judgements: pd.DataFrame) -> tuple[pd.DataFrame, list[dict[str, Any]]]:
    """Marks as excluded who rates the hidden reference below 90 in more than 15 % of the items.

    Returns:
        The judgements, none removed, and a record for each listener: `listener`, `name`, `n_items`, `n_below`, `excluded`.
    """
    references = judgements[judgements["variant"] == BASELINE]
    records: list[dict[str, Any]] = []
    for (listener, name), rows in references.groupby(["listener", "name"], sort=True):
        below = int((rows["value"] < LEAST_RATING).sum())
        records.append(
            {
                "listener": listener,
                "name": name,
                "n_items": len(rows),
                "n_below": below,
                "excluded": below > LARGEST_SHARE * len(rows),
            }
        )
    out = {record["listener"] for record in records if record["excluded"]}
    return judgements.assign(excluded=judgements["listener"].isin(out)), records
