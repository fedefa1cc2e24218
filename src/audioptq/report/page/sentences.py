"""What the page says in words: what it is, what to beware of, what was found."""

from collections.abc import Mapping

import pandas as pd

from audioptq.report.formats import TIMES
from audioptq.report.measure.aggregate import Estimate
from audioptq.report.measure.compare import BETTER, SIGNS, UNCLEAR, WITHIN, WORSE
from audioptq.score.table import MetricInfo


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
            "No second seed of the full-precision model was scored, so there is no noise floor to judge differences by."
        )
    return found


def verdict_meanings(has_floor: bool) -> list[tuple[str, str, str]]:
    """Each verdict with its sign and its meaning."""
    beyond = ", and the difference is larger than the noise floor" if has_floor else ""
    meanings = {
        WORSE: f"the interval of the difference lies on the bad side of zero{beyond}.",
        BETTER: "the same on the good side.",
        WITHIN: "the whole interval lies inside the noise floor.",
        UNCLEAR: "neither can be said with this many clips.",
    }
    return [(word, SIGNS[word], text) for word, text in meanings.items() if has_floor or word != WITHIN]


def findings(
    table: pd.DataFrame, comparisons: pd.DataFrame, baseline: str, baseline_seconds: pd.Series
) -> list[dict[str, str]]:
    """The answer in three boxes: smallest without measured loss, fastest, and what got worse.

    Recipes are not timed in turns, so that a machine's mood is in their times: one counts as faster only if its median clip took
    less than every clip of the baseline.

    Args:
        table: A row per recipe.
        comparisons: Verdicts.
        baseline: Full precision.
        baseline_seconds: Of each of its clips, those of its other seed too.
    """
    rest = table[(table["recipe"] != baseline) & table["recipe"].isin(comparisons["recipe"])]
    if rest.empty:
        return []
    worse = set(comparisons.loc[comparisons["verdict"] == WORSE, "recipe"])
    unclear = set(comparisons.loc[comparisons["verdict"] == UNCLEAR, "recipe"])
    kept = rest[~rest["recipe"].isin(worse) & rest["size_ratio"].notna()].sort_values("size_ratio")
    boxes = []
    if len(kept):
        row = kept.iloc[0]
        hedge = (
            "Some of its differences are unclear."
            if row["recipe"] in unclear
            else "All of its differences lie within noise or better."
        )
        size = f"{row['size_bytes'] / 1e6:.1f} MB, {row['size_ratio']:.2f} of full precision. "
        boxes.append(
            {"question": "Smallest recipe that measures no worse", "answer": row["recipe"], "detail": size + hedge}
        )
    else:
        boxes.append(
            {
                "question": "Smallest recipe that measures no worse",
                "answer": "none",
                "detail": "Each recipe is worse on some measure.",
            }
        )
    timed = rest[rest["speedup"].notna() & (rest["compute"] != "simulated")].sort_values("speedup", ascending=False)
    if len(timed):
        row = timed.iloc[0]
        gain = f"{row['speedup']:.2f}{TIMES} the speed of full precision ({row['seconds_per_clip']:.3g} s a clip)."
        is_faster = row["seconds_per_clip"] < baseline_seconds.min()
        own = f"Clips of {baseline} took {baseline_seconds.min():.3g} to {baseline_seconds.max():.3g} s."
        boxes.append(
            {
                "question": "Fastest recipe",
                "answer": row["recipe"] if is_faster else "none is faster",
                "detail": gain if is_faster else f"The best is {row['recipe']}: {gain} {own}",
            }
        )
    names = [recipe for recipe in rest["recipe"] if recipe in worse]
    boxes.append(
        {
            "question": "Worse than full precision",
            "answer": f"{len(names)} of {len(rest)}",
            "detail": ", ".join(names) or "No recipe is.",
        }
    )
    return boxes


def comparison_note(
    metrics: Mapping[str, MetricInfo], floors: Mapping[str, Estimate], baseline: str, seed: int | None, percent: str
) -> str:
    """How the differences are made and what the band means."""
    text = f"Each recipe minus {baseline}, clip by clip with the same prompt and noise, with its {percent} interval."
    distances = [info.label for info in metrics.values() if info.is_distance]
    if distances:
        text += f" For {', '.join(distances)}: the distance to {baseline}'s own clips."
    if floors:
        text += f" The shaded band is the noise floor: how far {baseline} with seed {seed} lies from {baseline} itself."
    return text
