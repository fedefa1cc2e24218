"""What the answers show, in sentences and rows, for the terminal, Markdown and HTML alike."""

from collections.abc import Mapping
from typing import Any

from audioptq.listen.analyse.figure import label
from audioptq.listen.analyse.intervals import MIN_UNITS, TOO_FEW, UNSHOWN
from audioptq.listen.analyse.screening import LARGEST_SHARE, LEAST_RATING
from audioptq.listen.plan import ABX, MUSHRA, RATING
from audioptq.listen.stimuli.finished_run import BASELINE

ASKED = {
    RATING: "how well a sound matches its text, from 1 (not at all) to 5 (completely)",
    MUSHRA: "how close a sound is to that of full precision, from 0 to 100",
    ABX: "which of two sounds a third one is",
}


def who(record: Mapping[str, Any]) -> str:
    """Who listened: simulated listeners are called so.

    Example:
        >>> who({"listeners": {"n": 3, "simulated": 3}}), who({"listeners": {"n": 3, "simulated": 1}})
        ('3 simulated listeners', '3 listeners, 1 of them simulated')
    """
    n, simulated = record["listeners"]["n"], record["listeners"]["simulated"]
    if simulated == n:
        return f"{n} simulated listener{'s' if n != 1 else ''}"
    return f"{n} listener{'s' if n != 1 else ''}" + (f", {simulated} of them simulated" if simulated else "")


def summary(record: Mapping[str, Any]) -> list[str]:
    """Who was asked what, what came of it, and what it does not show."""
    test, listeners = record["test"], record["listeners"]
    lines = [
        f"{who(record)} said {ASKED[test['mode']]}; {len(test['prompts'])} prompts, noise seed {test['noise_seed']}."
    ]
    if listeners["simulated"]:
        lines.append("Answers of simulated listeners are no evidence of what people hear.")
    lines += [_recognised(entry) for entry in record["recognition"]]
    lines += [
        _difference(entry, test["mode"])
        for entry in record["differences"]
        if not entry["variant"].startswith("anchor_")
    ]
    if any(entry["verdict"] == UNSHOWN for entry in record["differences"]):
        lines.append(
            "That no difference is shown does not show that there is none: the interval says how large it may be."
        )
    if record["agreement"] is not None:
        lines.append(f"Agreement between listeners (Krippendorff's alpha, interval scale): {record['agreement']:.2f}.")
    return lines + _notes(record)


def _recognised(entry: Mapping[str, Any]) -> str:
    return (
        f"{entry['variant']} against {BASELINE}: {entry['n_correct']} of {entry['n']} answers right ({100 * entry['share']:.0f} %, "
        f"95 % interval {100 * entry['low']:.0f} to {100 * entry['high']:.0f} %), p = {entry['p_adjusted']:.2g} against chance: "
        f"{entry['verdict']}."
    )


def _difference(entry: Mapping[str, Any], mode: str) -> str:
    digits = 2 if mode == RATING else 1
    text = f"{label(entry['variant'])} - {BASELINE}: {entry['mean']:+.{digits}f}"
    if entry["verdict"] == TOO_FEW:
        return f"{text} without an interval, which needs {MIN_UNITS} listeners and {MIN_UNITS} prompts: {TOO_FEW}."
    return f"{text}, 95 % interval {entry['low']:+.{digits}f} to {entry['high']:+.{digits}f}: {entry['verdict']}."


def _notes(record: Mapping[str, Any]) -> list[str]:
    test, listeners = record["test"], record["listeners"]
    notes = []
    if listeners["excluded"]:
        notes.append(
            f"Excluded by BS.1534's post-screening: {listeners['excluded']} of {listeners['n']} listeners, who rated the hidden "
            f"reference below {LEAST_RATING} in more than {100 * LARGEST_SHARE:.0f} % of the items. What they said is kept, marked."
        )
    if listeners["incomplete"]:
        notes.append(f"{listeners['incomplete']} did not answer all questions; what they answered counts.")
    if listeners["empty"]:
        notes.append(f"{listeners['empty']} handed in without answering anything.")
    if listeners["names_twice"]:
        notes.append(
            f"{len(listeners['names_twice'])} names occur more than once. Each stands for listeners of different ids, who all count."
        )
    for recipe, n in test["unusable_clips"].items():
        if n:
            notes.append(
                f"{recipe}: {n} of {test['clips_of_the_run']} clips of the run are silent or not finite. Nobody was asked about "
                "those, so that what is said of this recipe here is too good."
            )
    if record["set_aside"]:
        notes.append(
            f"{len(record['set_aside'])} submissions are set aside, since the same listener handed in another one."
        )
    if record["refused"]:
        notes.append(f"{len(record['refused'])} submissions are not counted; the reasons stand below.")
    return notes


def rows(record: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the table of results."""
    if record["test"]["mode"] == ABX:
        header = ["against fp32", "right", "trials", "share", "95 % interval", "p (Holm)"]
        return header, [
            [
                label(entry["variant"]),
                str(entry["n_correct"]),
                str(entry["n"]),
                f"{100 * entry['share']:.0f} %",
                f"{100 * entry['low']:.0f} to {100 * entry['high']:.0f} %",
                f"{entry['p_adjusted']:.2g}",
            ]
            for entry in record["recognition"]
        ]
    digits = 2 if record["test"]["mode"] == RATING else 1
    header = ["variant", "mean", "95 % interval", "median", "judgements"]
    return header, [
        [
            label(entry["variant"]),
            f"{entry['mean']:.{digits}f}",
            "-" if entry["low"] is None else f"{entry['low']:.{digits}f} to {entry['high']:.{digits}f}",
            f"{entry['median']:g}",
            str(entry["n"]),
        ]
        for entry in record["variants"]
    ]
