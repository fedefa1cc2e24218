"""What a listening test asks: its questions, each over clips that carry tokens in place of names."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from audioptq.errors import UserError
from audioptq.listen.stimuli.anchors import ANCHORS_HZ, fits
from audioptq.listen.stimuli.finished_run import BASELINE

RATING, MUSHRA, ABX = "rating", "mushra", "abx"
MODES = (RATING, MUSHRA, ABX)
# BS.1534-3 lets a trial have at most twelve signals, hidden reference and anchors among them.
MAX_MUSHRA_SIGNALS = 12
HEAR_SECONDS = 2.0
"""How long each clip of a question must have been heard before its answer counts; a rating asks for the whole clip."""


@dataclass(frozen=True)
class Slot:
    """One clip's place in a question.

    Attributes:
        clip_id: The prompt.
        variant: A recipe, or an anchor.
        role: `rated`, `reference` (MUSHRA's open one), `a`, `b` or `x`.
        n: Which of several slots that are alike otherwise.
    """

    clip_id: str
    variant: str
    role: str
    n: int = 0


def questions_of(
    mode: str, prompts: Sequence[str], recipes: Sequence[str], repeats: int, anchors: Sequence[str]
) -> list[dict[str, Any]]:
    """Questions as `{clip_id, repeat, slots: {place: [Slot, ...]}}`, in no order that matters.

    Args:
        mode: `rating`: a question for each prompt and recipe. `mushra`: one for each prompt, with hidden reference and anchors.
            `abx`: one for each prompt and recipe but full precision, against full precision.
        prompts: Ids.
        recipes: Full precision first.
        repeats: How often each question is asked.
        anchors: Names of MUSHRA's anchors.

    Raises:
        UserError: If MUSHRA is to compare more recipes than one can judge side by side.
    """
    if mode == MUSHRA and len(recipes) + len(anchors) > MAX_MUSHRA_SIGNALS:
        raise UserError(
            f"MUSHRA compares at most {MAX_MUSHRA_SIGNALS} signals at once, hidden reference and anchors among them (BS.1534-3): "
            f"name at most {MAX_MUSHRA_SIGNALS - len(anchors) - 1} recipes with --recipes."
        )
    make = {RATING: _rating, MUSHRA: _mushra, ABX: _abx}[mode]
    found = []
    for clip_id in prompts:
        for repeat in range(repeats):
            for slots in make(clip_id, recipes, anchors):
                found.append({"clip_id": clip_id, "repeat": repeat, "slots": slots})
    return found


def _rating(clip_id: str, recipes: Sequence[str], _: Sequence[str]) -> list[dict[str, list[Slot]]]:
    return [{"rated": [Slot(clip_id, recipe, "rated")]} for recipe in recipes]


def _mushra(clip_id: str, recipes: Sequence[str], anchors: Sequence[str]) -> list[dict[str, list[Slot]]]:
    rated = [Slot(clip_id, variant, "rated") for variant in (*recipes, *anchors)]
    return [{"reference": [Slot(clip_id, BASELINE, "reference")], "rated": rated}]


def _abx(clip_id: str, recipes: Sequence[str], _: Sequence[str]) -> list[dict[str, list[Slot]]]:
    others = [recipe for recipe in recipes if recipe != BASELINE]
    # X has names of its own, so that the page never holds which of the two it is.
    return [
        {
            "pair": [Slot(clip_id, variant, "ab", index) for index, variant in enumerate((BASELINE, other))],
            "x": [Slot(clip_id, variant, "x", n) for n, variant in enumerate((BASELINE, other))],
        }
        for other in others
    ]


def public_plan(
    mode: str,
    questions: Sequence[Mapping[str, Any]],
    token: Callable[[str], str],
    captions: Mapping[str, str],
) -> tuple[list[dict[str, Any]], dict[str, Slot]]:
    """What the page is told of the questions, and which slot each token stands for.

    Order says nothing: questions are sorted by their tokens, and so are the clips within one.

    Args:
        mode: Of the test.
        questions: Of `questions_of`.
        token: Makes a name that tells nothing from one that does.
        captions: By clip id.
    """
    plan, slots = [], {}
    for question in questions:
        names: dict[str, list[str]] = {}
        # Every repeat of a rating plays the same file; X of each repeat of an ABX does, too.
        for place, members in question["slots"].items():
            named = {token(f"clip {mode} {slot!r} {_pair(question)}"): slot for slot in members}
            slots.update(named)
            names[place] = sorted(named)
        members = sorted(name for place in names.values() for name in place)
        identity = f"question {question['clip_id']} {question['repeat']} {members}"
        plan.append({"id": token(identity), "caption": captions[question["clip_id"]], **names})
    return sorted(plan, key=lambda question: question["id"]), slots


def _pair(question: Mapping[str, Any]) -> str:
    """The recipe of an ABX question, since each has clips of full precision under names of its own."""
    pair = question["slots"].get("pair")
    return pair[1].variant if pair else ""


def anchors_for(mode: str, sample_rate: int) -> tuple[list[str], list[str]]:
    """Anchors of MUSHRA that a sample rate can carry, and those that it cannot."""
    if mode != MUSHRA:
        return [], []
    there = [name for name, edge in ANCHORS_HZ.items() if fits(sample_rate, edge)]
    return there, [name for name in ANCHORS_HZ if name not in there]
