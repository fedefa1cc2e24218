"""What the page says in words: what it is, what to beware of, what was found."""

from collections.abc import Iterable, Mapping

import pandas as pd

from audioptq.report.measure.aggregate import Estimate
from audioptq.report.measure.compare import NO_VERDICT, SIGNS, judged
from audioptq.report.measure.inputs import Settings
from audioptq.score.table import MetricInfo
from audioptq.score.verdict import BETTER, DIFFERENT, EQUIVALENT, NOT_ENOUGH, WORSE


def lead(table: pd.DataFrame, model: str, baseline: str) -> str:
    """The one paragraph that says what the page is."""
    others = len(table) - 1
    clips = int(table.loc[table["recipe"] == baseline, "n_clips"].iloc[0])
    return (
        f"{others} {'recipe' if others == 1 else 'recipes'} for post-training quantization of {model}, each compared "
        f"with the full-precision model ({baseline}) on {clips} clips made from the same prompts and the same noise."
    )


def cautions(table: pd.DataFrame, metrics: Mapping[str, MetricInfo], noise_floor_seed: int | None) -> list[str]:
    """What a reader must know before quoting a number."""
    found = []
    if any(metric.endswith("_mini") for metric in metrics):
        found.append(
            "Measures marked (mini) use the small evaluators that ship with the mini model. They compare recipes of "
            "one model; they are not comparable with published CLAP, KL or FD values."
        )
    if (table["compute"] == "simulated").any():
        found.append(
            "Recipes marked simulated ran their integers in floating point: their quality is that of the quantized "
            "model, their time is not."
        )
    if noise_floor_seed is None:
        found.append(
            "No second seed of the full-precision model was scored: there is no noise floor, and distances to full precision have "
            "no margin."
        )
    return found


def verdict_meanings() -> list[tuple[str, str, str]]:
    """Each verdict with its sign and its meaning."""
    meanings = {
        EQUIVALENT: "the whole interval of the difference lies inside the margin.",
        DIFFERENT: "the same, and it excludes zero: there is a difference, too small to matter.",
        BETTER: "the whole interval lies beyond the margin on the good side.",
        WORSE: "it lies beyond the margin on the bad side, or more clips are unusable than of full precision.",
        NOT_ENOUGH: "neither can be said with this many clips.",
    }
    return [(word, SIGNS[word], text) for word, text in meanings.items()]


def findings(table: pd.DataFrame, comparisons: pd.DataFrame, baseline: str) -> list[dict[str, str]]:
    """The answer in three boxes: what may be shipped, what not, and what needs more clips. Nothing without verdicts.

    Speeds are no part of it: recipes are not timed in turns, and a machine's mood is in their times.
    """
    verdicts = {recipe: verdict for recipe, verdict in judged(comparisons).items() if recipe != baseline}
    if not verdicts:
        return []
    sizes = table.set_index("recipe")["size_ratio"].to_dict()

    def named(word: str) -> list[str]:
        recipes = [recipe for recipe, verdict in verdicts.items() if verdict.word == word]
        return sorted(recipes, key=lambda recipe: sizes.get(recipe, 1.0))

    def with_size(recipe: str) -> str:
        known = pd.notna(sizes.get(recipe))
        return f"{recipe} ({sizes[recipe]:.2f} of the size)" if known else recipe

    safe, worse, open_ones = named(EQUIVALENT), named(WORSE), named(NOT_ENOUGH)
    needs = [
        f"{recipe} ({f'{verdicts[recipe].n_needed:,} clips' if verdicts[recipe].n_needed else 'no number of clips would decide'}: "
        f"{verdicts[recipe].reason})"
        for recipe in open_ones
    ]
    return [
        {
            "question": "May be shipped",
            "answer": safe[0] if safe else "none shown yet",
            "detail": f"Within the margin of {baseline} on every measure that has one: {', '.join(map(with_size, safe))}."
            if safe
            else f"No recipe was shown to be within the margins of {baseline}. That is no proof of a loss.",
        },
        {
            "question": "Worse than full precision",
            "answer": f"{len(worse)} of {len(verdicts)}",
            "detail": _sentence(f"{recipe} ({verdicts[recipe].reason})" for recipe in worse)
            or "No recipe was shown to be.",
        },
        {
            "question": "Needs more clips",
            "answer": f"{len(open_ones)} of {len(verdicts)}",
            "detail": _sentence(needs) or "Every recipe is decided.",
        },
    ]


def _sentence(parts: Iterable[str]) -> str:
    text = "; ".join(parts)
    return f"{text}." if text else ""


def answers(boxes: list[dict[str, str]]) -> list[str]:
    """The findings as paragraphs, for the head of the table; none without any."""
    return [f"{box['question']}: {box['answer']}. {box['detail']}" for box in boxes]


def bias_note(
    settings: Settings, metrics: Mapping[str, MetricInfo], baseline: str, noise_floor_seed: int | None
) -> str:
    """What the number of clips alone makes of full precision's Fréchet distances; empty where that is not known."""
    found = {}
    for (recipe, seed, metric), entry in settings.items():
        if recipe == baseline and seed != noise_floor_seed and metric in metrics and not metrics[metric].is_distance:
            if entry.get("fd_inf") is not None:
                found[metrics[metric].label] = (entry["fd_inf"], entry["fd_bias"])
    if not found:
        return ""
    parts = [f"{label} {bias:.1f}, which leaves {value:.1f}" for label, (value, bias) in found.items()]
    return f" Fewer clips raise a Fréchet distance: of {baseline}'s own, so much comes from their number alone: {'; '.join(parts)}."


def comparison_note(
    metrics: Mapping[str, MetricInfo],
    floors: Mapping[str, Estimate],
    comparisons: pd.DataFrame,
    baseline: str,
    seed: int | None,
    percent: str,
) -> str:
    """How the differences are made, and what the lines and the band mean."""
    text = f"Each recipe minus {baseline}, clip by clip with the same prompt and noise, with its {percent} interval."
    distances = [info.label for info in metrics.values() if info.is_distance]
    if distances:
        text += f" For {', '.join(distances)}: the distance to {baseline}'s own clips."
    if comparisons["margin"].notna().any():
        text += " Dashed lines are the margin: how large a difference may be before it matters, whatever the number of clips."
    without = comparisons.loc[comparisons["verdict"] == NO_VERDICT, "metric"].unique()
    if len(without):
        named = ", ".join(metrics[metric].label for metric in without)
        text += f" No margin is set for {named}, hence no verdict: another seed gives the scale."
    if floors:
        text += f" The shaded band is what {baseline} with seed {seed} does, for comparison: no verdict rests on it."
    return text
