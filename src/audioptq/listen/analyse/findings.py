"""Everything that the answers of a test show, as one record."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from audioptq.errors import UserError
from audioptq.listen.analyse import intervals
from audioptq.listen.analyse.agreement import krippendorff_alpha
from audioptq.listen.analyse.judgements import Gathered, gather, table_of
from audioptq.listen.analyse.recognition import recognition
from audioptq.listen.analyse.screening import screen
from audioptq.listen.key import TestKey
from audioptq.listen.plan import ABX, MUSHRA
from audioptq.listen.stimuli.finished_run import BASELINE


@dataclass(frozen=True)
class Findings:
    """What the answers of a test show.

    Attributes:
        key: Of the test.
        gathered: What came in.
        judgements: A row for each judgement, excluded ones too.
        record: Everything else as JSON holds it: `listeners`, `variants`, `differences`, `recognition`, `screening`, `agreement`,
            `refused`, `set_aside`, `comments`, `test`.
    """

    key: TestKey
    gathered: Gathered
    judgements: pd.DataFrame
    record: dict[str, Any]


def find(key_path: str | Path, paths: Iterable[str | Path]) -> Findings:
    """Reads answers and says what they show.

    Args:
        key_path: The key of the test.
        paths: Files and folders of answers.

    Raises:
        UserError: If the key is damaged, or no answers can be counted; the text says why not.
    """
    key = TestKey.read(key_path)
    gathered = gather(paths, key)
    judgements = table_of(gathered.answers, key)
    if judgements.empty:
        why = (
            " ".join(entry["why"] for entry in gathered.refused[:5])
            or "No file of answers was found, or all are empty."
        )
        raise UserError(f"There is nothing to analyse. {why}")
    screening: list[dict[str, Any]] = []
    if key.mode == MUSHRA:
        judgements, screening = screen(judgements)
    counted = judgements[~judgements["excluded"]]
    record: dict[str, Any] = {
        "test": {"id": key.test, "mode": key.mode, "recipes": key.recipes, "prompts": key.prompts, **key.facts},
        "listeners": _listeners(judgements, gathered),
        "screening": screening,
        "variants": [],
        "differences": [],
        "recognition": [],
        "agreement": None,
        "refused": gathered.refused,
        "set_aside": gathered.set_aside,
        "comments": [
            {"listener": answers.listener, "name": answers.name, "comment": answers.record["comment"]}
            for answers in gathered.answers
            if str(answers.record["comment"]).strip()
        ],
    }
    if key.mode == ABX:
        record["recognition"] = recognition(counted, [name for name in key.recipes if name != BASELINE])
    elif len(counted):
        variants = [*key.recipes, *key.facts.get("anchors", ())]
        record["variants"] = [mean.record() for mean in intervals.means(counted, variants)]
        record["differences"] = [mean.record() for mean in intervals.differences(counted, variants)]
        record["agreement"] = _agreement(counted, variants)
    return Findings(key, gathered, judgements, record)


def _listeners(judgements: pd.DataFrame, gathered: Gathered) -> dict[str, Any]:
    """How many listened, how many of them are simulated, left off early, or are not counted; names that occur twice."""
    people = judgements.groupby("listener").first()
    names = people["name"][people["name"].str.strip() != ""]
    return {
        "n": len(people),
        "simulated": int(people["simulated"].sum()),
        "incomplete": int((~people["complete"]).sum()),
        "excluded": int(people["excluded"].sum()),
        "received_by_a_server": int(people["received"].sum()),
        "empty": len(gathered.answers) - len(people),
        "names_twice": sorted(names[names.duplicated()].unique().tolist()),
    }


def _agreement(counted: pd.DataFrame, variants: list[str]) -> float | None:
    """Krippendorff's alpha over the pairs of prompt and variant; None where one listener alone has judged."""
    values, _ = intervals.cube(counted, variants)
    alpha = krippendorff_alpha(values.reshape(len(values), -1))
    return alpha if alpha == alpha else None
