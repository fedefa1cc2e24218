"""Means of ratings with intervals that hold for other listeners and other prompts, and differences to full precision."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from audioptq.listen.stimuli.finished_run import BASELINE

FloatArray = NDArray[np.float64]

LEVEL, N_REPLICATES = 0.95, 2000
# The paper had five prompts. With fewer listeners or prompts a bootstrap of them says nothing.
MIN_UNITS = 5
LOWER, HIGHER, UNSHOWN, TOO_FEW = "rated lower", "rated higher", "no difference shown", "too few listeners or prompts"


@dataclass(frozen=True)
class Mean:
    """A mean of judgements.

    Attributes:
        variant: A recipe or an anchor.
        mean: Over all judgements; each listener's repeats of one question count as one.
        low: Of the 95 % interval; None where there are fewer than five listeners or prompts.
        high: As `low`.
        median: Of all judgements.
        n: Judgements, repeats counted as one.
        n_listeners: Who gave them.
        n_prompts: That they are about.
        verdict: Of a difference: what the interval shows. Empty for a mean.
    """

    variant: str
    mean: float
    low: float | None
    high: float | None
    median: float
    n: int
    n_listeners: int
    n_prompts: int
    verdict: str = ""

    def record(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self)


def cube(judgements: pd.DataFrame, variants: Sequence[str]) -> tuple[FloatArray, list[str]]:
    """Judgements `[listeners, prompts, variants]`, NaN where there is none, and the listeners; repeats are averaged."""
    listeners, prompts = sorted(judgements["listener"].unique()), sorted(judgements["clip_id"].unique())
    means = judgements.groupby(["listener", "clip_id", "variant"])["value"].mean()
    index = pd.MultiIndex.from_product([listeners, prompts, list(variants)])
    return means.reindex(index).to_numpy().reshape(len(listeners), len(prompts), len(variants)), listeners


def means(judgements: pd.DataFrame, variants: Sequence[str], seed: int = 0) -> list[Mean]:
    """Mean judgement of each variant that anyone judged."""
    values, _ = cube(judgements, variants)
    return [
        _mean(variant, values[:, :, index], seed)
        for index, variant in enumerate(variants)
        if np.isfinite(values[:, :, index]).any()
    ]


def differences(judgements: pd.DataFrame, variants: Sequence[str], seed: int = 0) -> list[Mean]:
    """Mean difference of each variant to full precision, listener by listener and prompt by prompt: variant - fp32."""
    values, _ = cube(judgements, variants)
    base = values[:, :, list(variants).index(BASELINE)]
    found = []
    for index, variant in enumerate(variants):
        paired = values[:, :, index] - base
        if variant != BASELINE and np.isfinite(paired).any():
            found.append(_mean(variant, paired, seed, is_difference=True))
    return found


def _mean(variant: str, values: FloatArray, seed: int, is_difference: bool = False) -> Mean:
    present = np.isfinite(values)
    n_listeners, n_prompts = int(present.any(axis=1).sum()), int(present.any(axis=0).sum())
    average = float(values[present].mean())
    low = high = None
    if min(n_listeners, n_prompts) >= MIN_UNITS:
        low, high = interval(values[present.any(axis=1)][:, present.any(axis=0)], seed)
    verdict = _verdict(low, high) if is_difference else ""
    median = float(np.median(values[present]))
    return Mean(variant, average, low, high, median, int(present.sum()), n_listeners, n_prompts, verdict)


def interval(values: FloatArray, seed: int = 0, n_replicates: int = N_REPLICATES) -> tuple[float, float]:
    """95 % interval of the mean of `[listeners, prompts]`: both are drawn with replacement, independently.

    A. B. Owen, "The pigeonhole bootstrap" (2007): the variance comes out too large rather than too small. Percentiles of few
    units are too narrow, hence the factor sqrt(k / (k - 1)) for the smaller number k.

    Args:
        values: NaN where a listener has not judged a prompt.
        seed: Of the draws.
        n_replicates: Of the bootstrap.
    """
    random = np.random.default_rng(seed)
    listeners, prompts = (
        random.multinomial(n, np.full(n, 1 / n), size=n_replicates).astype(np.float64) for n in values.shape
    )
    present = np.isfinite(values)
    totals = ((listeners @ np.where(present, values, 0.0)) * prompts).sum(axis=1)
    weights = ((listeners @ present.astype(np.float64)) * prompts).sum(axis=1)
    drawn = weights > 0
    low, high = np.quantile(totals[drawn] / weights[drawn], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    k, mean = min(values.shape), float(values[present].mean())
    factor = float(np.sqrt(k / (k - 1)))
    return mean - (mean - float(low)) * factor, mean + (float(high) - mean) * factor


def _verdict(low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return TOO_FEW
    return LOWER if high < 0 else HIGHER if low > 0 else UNSHOWN
