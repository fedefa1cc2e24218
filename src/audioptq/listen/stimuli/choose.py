"""Which recipes and which prompts a listening test asks about, where nobody has said so."""

import random
import re
from collections.abc import Sequence

import pandas as pd

from audioptq.errors import UserError, did_you_mean
from audioptq.listen.stimuli.finished_run import BASELINE, FinishedRun

# The paper compares full precision with its fastest and its best variant at W8A8 (section 4, figure 4).
PAPERS_RECIPES = ("w8a8_sqs", "w8a8_sqd_lora")
SMALL_WORDS = frozenset("a an and as at by for from in is it of on over the then to while with followed".split())


def choose_recipes(run: FinishedRun) -> list[str]:
    """The paper's two variants if the run has both, else the first two of the run by name.

    Raises:
        UserError: If the run has full precision alone.
    """
    others = sorted(set(run.clips) - {BASELINE})
    if not others:
        raise UserError(f"The run holds clips of {BASELINE} alone: there is nothing to compare it with.")
    return list(PAPERS_RECIPES) if set(PAPERS_RECIPES) <= set(others) else others[:2]


def choose_prompts(run: FinishedRun, recipes: Sequence[str], n: int, seed: int) -> list[str]:
    """Ids of `n` prompts of different classes, at random among those of which every recipe has a clip with sound.

    Prompts are drawn one after the other, each among those that share the fewest classes with what is drawn already.
    Classes are the table's labels, or the words of the caption where there are none.

    Args:
        run: The run.
        recipes: Of the test, full precision included.
        n: How many.
        seed: Of the draw.

    Raises:
        UserError: If fewer than `n` prompts have a clip with sound of every recipe.
    """
    usable = usable_prompts(run, recipes)
    if len(usable) < n:
        raise UserError(
            f"Only {len(usable)} of {len(run.prompts)} prompts have a clip with sound of every recipe ({', '.join(recipes)}), "
            f"and {n} are asked for. Ask for fewer with --n-prompts, or leave a recipe out."
        )
    classes = {row["clip_id"]: classes_of(row) for _, row in run.prompts.iterrows()}
    order = list(usable)
    random.Random(seed).shuffle(order)
    chosen: list[str] = []
    seen: set[str] = set()
    while len(chosen) < n:
        best = min((clip for clip in order if clip not in chosen), key=lambda clip: len(classes[clip] & seen))
        chosen.append(best)
        seen |= classes[best]
    return chosen


def check_prompts(run: FinishedRun, recipes: Sequence[str], clip_ids: Sequence[str]) -> list[str]:
    """The ids that somebody named, once each.

    Raises:
        UserError: If one is unknown, or a recipe has no clip with sound of it.
    """
    known, usable = set(run.prompts["clip_id"]), set(usable_prompts(run, recipes))
    for clip_id in clip_ids:
        if clip_id not in known:
            raise UserError(f"The run has no prompt {clip_id!r}.{did_you_mean(clip_id, known)}")
        if clip_id not in usable:
            silent = [
                recipe for recipe in recipes if clip_id in run.unusable(recipe) or clip_id not in run.clips[recipe]
            ]
            raise UserError(
                f"{', '.join(silent)} has no clip with sound of the prompt {clip_id!r}: nobody can listen to it. "
                "Name another prompt, or leave the recipe out."
            )
    return list(dict.fromkeys(clip_ids))


def usable_prompts(run: FinishedRun, recipes: Sequence[str]) -> list[str]:
    """Ids of the prompts of which every recipe has a clip with sound, in the table's order."""
    usable = set.intersection(*(set(run.clips[recipe]) - set(run.unusable(recipe)) for recipe in recipes))
    return [clip_id for clip_id in run.prompts["clip_id"] if clip_id in usable]


def classes_of(prompt: "pd.Series") -> set[str]:
    """Classes of a prompt: its labels, else the words of its caption that are long enough to mean something.

    Example:
        >>> sorted(classes_of(pd.Series({"caption": "A dog barks", "labels": "dog|rain"})))
        ['dog', 'rain']
        >>> sorted(classes_of(pd.Series({"caption": "A dog barks", "labels": None})))
        ['barks', 'dog']
    """
    labels = prompt["labels"]
    if isinstance(labels, str) and labels:
        return set(labels.split("|"))
    return set(re.findall(r"\w+", str(prompt["caption"]).lower())) - SMALL_WORDS
