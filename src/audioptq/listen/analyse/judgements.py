"""Answers opened with the key: a row for each judgement, each listener once."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from audioptq.listen.answers.file import Answers, AnswersError, read_answers
from audioptq.listen.key import TestKey
from audioptq.listen.plan import ABX
from audioptq.listen.stimuli.finished_run import BASELINE

COLUMNS = (
    "listener",
    "name",
    "simulated",
    "complete",
    "received",
    "question",
    "clip_id",
    "caption",
    "variant",
    "value",
    "heard_ms",
    "plays",
    "ms",
    "excluded",
)


@dataclass
class Gathered:
    """What came in, and what became of it.

    Attributes:
        answers: One for each listener, as counted.
        refused: What could not be counted, and why: `source`, `why`.
        set_aside: Submissions of a listener of whom another one counts: `source`, `listener`, `why`.
    """

    answers: list[Answers] = field(default_factory=list)
    refused: list[dict[str, str]] = field(default_factory=list)
    set_aside: list[dict[str, str]] = field(default_factory=list)


def gather(paths: Iterable[str | Path], key: TestKey) -> Gathered:
    """Reads answers from files and folders of them; of several by one listener the one with most judgements counts.

    Args:
        paths: Files (`.json`, `.jsonl`) and folders.
        key: Of the test.
    """
    found = Gathered()
    counted: dict[str, Answers] = {}
    for path in (file for given in map(Path, paths) for file in _files(given)):
        for answers in read_answers(path, key):
            if isinstance(answers, AnswersError):
                found.refused.append({"source": str(path), "why": str(answers)})
                continue
            before = counted.get(answers.listener)
            kept, aside = _better(answers, before) if before else (answers, None)
            counted[kept.listener] = kept
            if aside is not None:
                found.set_aside.append({"source": aside.source, "listener": aside.listener, "why": _why(aside, kept)})
    found.answers = list(counted.values())
    return found


def table_of(gathered: Sequence[Answers], key: TestKey) -> pd.DataFrame:
    """A row for each judgement, with `COLUMNS`.

    `value` is the rating, or of an ABX 1 for a right answer and 0 for a wrong one; `variant` is what was rated, or of an
    ABX what full precision was compared with. Nobody is excluded yet.
    """
    rows = [row for answers in gathered for row in _rows(answers, key)]
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype({"value": float})


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(file for file in path.iterdir() if file.suffix in (".json", ".jsonl"))
    return [path]


def _better(one: Answers, other: Answers) -> tuple[Answers, Answers]:
    """The submission that counts, and the one that does not: more judgements, then those that a server signed for, then the later."""

    def rank(answers: Answers) -> tuple[int, bool, str]:
        return answers.n_values, answers.received, str(answers.record["saved"])

    return (one, other) if rank(one) > rank(other) else (other, one)


def _why(aside: Answers, kept: Answers) -> str:
    if aside.same_as(kept):
        return f"the same answers as in {kept.source}"
    if aside.n_values < kept.n_values:
        return f"{aside.n_values} judgements, of which {kept.source} has {kept.n_values}"
    return f"other answers of the same listener, as many as in {kept.source}, which was taken in by a server or saved later"


def _rows(answers: Answers, key: TestKey) -> Iterable[dict[str, Any]]:
    record = answers.record
    common = {
        "listener": answers.listener,
        "name": answers.name,
        "simulated": record["simulated"],
        "complete": len(record["answers"]) == len(key.questions) and record["complete"],
        "received": answers.received,
        "excluded": False,
    }
    for answer in record["answers"]:
        given = {"question": answer["question"], "plays": _whole(answer.get("plays")), "ms": _whole(answer.get("ms"))}
        values = _abx(answer, key) if key.mode == ABX else answer["values"]
        for token, value in values.items():
            clip = key.clips[token]
            heard = answer.get("heard")
            yield {
                **common,
                **given,
                "clip_id": clip["clip_id"],
                "caption": key.prompts[clip["clip_id"]],
                "variant": clip["variant"],
                "value": value,
                "heard_ms": _whole(heard.get(token)) if isinstance(heard, dict) else None,
            }


def _abx(answer: dict[str, Any], key: TestKey) -> dict[str, int]:
    """The clip that full precision was compared with, and whether X was recognised."""
    variants = {place: key.clips[answer[place]]["variant"] for place in ("a", "b", "x")}
    other = "b" if variants["a"] == BASELINE else "a"
    return {answer[other]: int(variants[answer["choice"]] == variants["x"])}


def _whole(value: Any) -> int | None:
    """A whole number that a table can hold, or nothing: times and counts decide nothing."""
    return value if type(value) is int and 0 <= value < 2**53 else None
