"""What a paired difference to full precision shows, by two one-sided tests against a margin of equivalence.

A margin says how large a difference may be before anybody should care. It is chosen beforehand and does not depend on the number of
clips, so that fewer clips make it harder to call two recipes equivalent, and never easier. The tests are read off one interval
(Schuirmann 1987, "A comparison of the two one-sided tests procedure and the power approach"): with the 95 % interval of the report
each test has a level of 2.5 %.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from audioptq.errors import UserError

EQUIVALENT, WORSE, BETTER = "equivalent", "worse", "better"
DIFFERENT, NOT_ENOUGH = "different within the margin", "not enough clips"
WORDS = (EQUIVALENT, DIFFERENT, BETTER, WORSE, NOT_ENOUGH)
FEWEST_CLUSTERS = 6
N_REPLICATES = 2000
LEVEL = 0.95
POWER = 0.8
SPREAD_LIMIT = 0.9
# Beyond so many times the clips at hand, the difference lies at the margin for all that anybody can tell.
MOST_TIMES = 100
NORMAL = NormalDist()


@dataclass(frozen=True)
class Margin:
    """How far two recipes may lie apart and still be called equivalent: one of three kinds.

    Attributes:
        absolute: In the metric's unit.
        relative: As a share of full precision's own value.
        of_seed: As a share of what another seed of full precision gives; for distances to full precision.
    """

    absolute: float | None = None
    relative: float | None = None
    of_seed: float | None = None

    @classmethod
    def from_config(cls, metric: str, entry: Mapping[str, float] | float) -> "Margin":
        """Reads an entry of the config: a number, or a table of one of the three kinds.

        Raises:
            UserError: If it is neither, or the number is not above zero.
        """
        table = dict(entry) if isinstance(entry, Mapping) else {"absolute": entry}
        known = {"absolute", "relative", "of_seed"}
        if len(table) != 1 or not set(table) <= known:
            raise UserError(
                f"The margin of {metric} is {entry!r}: give a number in the metric's unit, {{relative: share of fp32's value}} or "
                "{of_seed: share of the distance of another seed} under `verdicts.margins` in the config."
            )
        value = next(iter(table.values()))
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
            raise UserError(f"The margin of {metric} is {value!r}: give a number above zero under `verdicts.margins`.")
        return cls(**{key: float(value) for key in table})

    def of(self, baseline: float, seed: float | None = None) -> float:
        """The margin in the metric's unit; NaN where it refers to a value that there is not.

        Args:
            baseline: Full precision's value.
            seed: Distance of another seed of full precision, None if there is none.
        """
        if self.absolute is not None:
            return self.absolute
        if self.relative is not None:
            return self.relative * abs(baseline)
        return math.nan if self.of_seed is None or seed is None else self.of_seed * abs(seed)


def margin_of(metric: str, margins: Mapping[str, Any], *, is_distance: bool) -> Margin | None:
    """The margin that a metric has in the config: its own, or that of its statistic; None if it gets no verdict.

    Distances to full precision have statistics of their own, `kl_fp32` for `kl_yamnet_fp32`.

    Example:
        >>> margin_of("kl_mini", {"kl": {"relative": 0.05}, "kl_fp32": 0.1}, is_distance=False)
        Margin(absolute=None, relative=0.05, of_seed=None)
        >>> margin_of("fd_mini", {"fd": 0.5, "fd_mini": None}, is_distance=False)
    """
    statistic = metric.partition("_")[0] + ("_fp32" if is_distance else "")
    entry = margins[metric] if metric in margins else margins.get(statistic)
    return None if entry is None else Margin.from_config(metric, entry)


@dataclass(frozen=True)
class Difference:
    """Recipe minus full precision over the clips that both have, or a distance between them.

    Attributes:
        value: The mean, or the difference of two set-level values.
        low: Lower end of its interval; NaN with fewer than 6 clusters.
        high: Upper end.
        spread: Paired standard deviation of one cluster: the standard error times the root of the number of clusters.
        n_clips: Clips behind it.
        n_clusters: References behind them.
    """

    value: float
    low: float
    high: float
    spread: float
    n_clips: int
    n_clusters: int

    @classmethod
    def of_clips(
        cls, differences: ArrayLike, clusters: Sequence[str], counts: NDArray[np.int64], level: float = LEVEL
    ) -> "Difference":
        """The mean of per-clip differences, with the interval of a bootstrap over clusters.

        Args:
            differences: Recipe minus full precision of each pair `[pairs]`.
            clusters: Cluster of each pair.
            counts: How often each replicate draws each pair, `[replicates, pairs]`, whole clusters at a time
                (`bootstrap.draw_counts`).
            level: Coverage.

        Raises:
            ValueError: If there is no pair, a difference is not finite, or shapes disagree.
        """
        values = np.asarray(differences, dtype=np.float64)
        if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
            raise ValueError("differences must be one finite number for each pair, and one pair at least")
        if counts.ndim != 2 or counts.shape[1] != len(values) or len(clusters) != len(values):
            raise ValueError(f"{len(values)} differences, {len(clusters)} clusters and counts {counts.shape} disagree")
        drawn = counts.sum(axis=1)
        replicates = (counts @ values)[drawn > 0] / drawn[drawn > 0]
        mean = float(values.mean())
        return cls.of_replicates(
            mean, replicates, n_clips=len(values), n_clusters=len(set(clusters)), level=level, centre=mean
        )

    @classmethod
    def of_replicates(
        cls,
        value: float,
        replicates: ArrayLike,
        *,
        n_clips: int,
        n_clusters: int,
        level: float = LEVEL,
        centre: float | None = None,
    ) -> "Difference":
        """A difference with the interval of its paired bootstrap replicates.

        Quantiles are taken about `centre` and widened by sqrt(k / (k - 1)) for k clusters: a bootstrap of k clusters has a
        variance too small by (k - 1) / k (Davison and Hinkley 1997, section 2.3).

        Args:
            value: The difference on all clips.
            replicates: The same on each bootstrap draw `[replicates]`; NaN ones are left out.
            n_clips: Clips behind it.
            n_clusters: Clusters behind them.
            level: Coverage in (0, 1).
            centre: What the replicates lie about; their own mean by default, since a Fréchet distance grows when clips repeat.

        Raises:
            ValueError: If the level is wrong.
        """
        if not 0 < level < 1:
            raise ValueError(f"level must lie between 0 and 1, not {level}")
        found = np.asarray(replicates, dtype=np.float64)
        found = found[np.isfinite(found)]
        if n_clusters < FEWEST_CLUSTERS or not len(found):
            return cls(value, math.nan, math.nan, math.nan, n_clips, n_clusters)
        widened = math.sqrt(n_clusters / (n_clusters - 1))
        about = float(found.mean()) if centre is None else centre
        low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
        spread = float(found.std()) * widened * math.sqrt(n_clusters)
        return cls(
            value, value + widened * (low - about), value + widened * (high - about), spread, n_clips, n_clusters
        )

    @property
    def excludes_zero(self) -> bool:
        """Whether the sign is beyond doubt."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class Verdict:
    """A word, and what it rests on.

    Attributes:
        word: One of `WORDS`.
        margin: In the metric's unit; NaN where there is none.
        n_needed: Clips that would decide at 80 % power; None where the verdict stands or no number would.
        reason: Why, where it is not the interval alone.
    """

    word: str
    margin: float = math.nan
    n_needed: int | None = None
    reason: str = ""


def judge(
    difference: Difference | None,
    margin: float,
    *,
    higher_is_better: bool,
    n_unusable: int = 0,
    n_unusable_baseline: int = 0,
    is_distance: bool = False,
) -> Verdict:
    """One verdict on one metric of one recipe.

    *equivalent*: the interval lies inside the margin. *different within the margin*: the same, and it excludes zero. *worse* or
    *better*: it lies outside the margin on one side. *not enough clips*: anything else, and always with fewer than 6 clusters. A
    recipe with more unusable clips than full precision is worse, whatever those that are left say.

    Args:
        difference: Recipe minus full precision, or the distance between them; None if no pair has values.
        margin: `Margin.of`, above zero; NaN if there is none, and then nothing can be decided.
        higher_is_better: The metric's direction.
        n_unusable: Clips of the recipe that are silent or not finite.
        n_unusable_baseline: Those of full precision.
        is_distance: Whether the value is a distance to full precision, never below zero: then no sign is worth a word.

    Raises:
        ValueError: If the margin is zero or below.
    """
    if margin <= 0:
        raise ValueError(f"a margin of equivalence is above zero, not {margin}")
    if n_unusable > n_unusable_baseline:
        reason = f"{n_unusable} of its clips are unusable, and {n_unusable_baseline} of full precision"
        return Verdict(WORSE, margin, reason=reason)
    if difference is None:
        return Verdict(NOT_ENOUGH, margin, reason="no pair of clips has values")
    if math.isnan(margin):
        return Verdict(NOT_ENOUGH, margin, reason="there is nothing that its margin could refer to")
    if math.isnan(difference.low):
        reason = f"{difference.n_clusters} references have no interval: at least {FEWEST_CLUSTERS} are needed"
        return Verdict(NOT_ENOUGH, margin, reason=reason)
    if -margin < difference.low and difference.high < margin:
        return Verdict(DIFFERENT if difference.excludes_zero and not is_distance else EQUIVALENT, margin)
    if difference.low >= margin or difference.high <= -margin:
        return Verdict(BETTER if (difference.value > 0) == higher_is_better else WORSE, margin)
    return Verdict(NOT_ENOUGH, margin, clips_needed(difference, margin))


def clips_needed(difference: Difference, margin: float, level: float = LEVEL, power: float = POWER) -> int | None:
    """Clips with which the tests would decide, at that power.

    First, n = ((z1 + z2) s / margin)^2 clusters: so many show equivalence if there is no difference, and a loss if it is twice the
    margin. s is the upper 90 % limit of the paired standard deviation: that of few clips is an estimate itself, and of differences
    with long tails often too small (Browne 1995, "On the use of a pilot sample for sample size determination", took 80 %). The
    observed difference is left out: of few clips it says little. If there are as many clips already, the true difference lies near
    the margin, and the observed one is what there is to plan with: n = ((z1 + z3) s / (its distance to the margin))^2.

    Returns:
        Clips, more than there are; None if the difference lies so near the margin that it would take more than a hundred times those,
        or nothing is known of the spread.

    Example:
        >>> clips_needed(Difference(0.002, -0.008, 0.012, spread=0.032, n_clips=40, n_clusters=40), margin=0.01)
        149
    """
    k = difference.n_clusters
    if k < FEWEST_CLUSTERS or math.isnan(difference.spread):
        return None
    spread = difference.spread * math.sqrt((k - 1) / _chi_square_quantile(1 - SPREAD_LIMIT, k - 1))
    outside = NORMAL.inv_cdf((1 + level) / 2)
    # With no difference both tests must pass: each end may miss in half of the cases left.
    n = ((outside + NORMAL.inv_cdf((1 + power) / 2)) * spread / margin) ** 2
    if n <= k:
        distance = abs(margin - abs(difference.value))
        n = ((outside + NORMAL.inv_cdf(power)) * spread / distance) ** 2 if distance else math.inf
        if n > MOST_TIMES * k:
            return None
    return math.ceil(max(n, k + 1) * difference.n_clips / k)


def _chi_square_quantile(probability: float, freedom: int) -> float:
    """Quantile of chi square, right to 0.2 % from 5 degrees of freedom on (Wilson and Hilferty 1931)."""
    part = 2 / (9 * freedom)
    return float(freedom * (1 - part + NORMAL.inv_cdf(probability) * math.sqrt(part)) ** 3)


def overall(verdicts: Mapping[str, Verdict]) -> Verdict:
    """What may be said of a recipe from its verdicts by metric: worse if one metric says so, equivalent only if all agree.

    A difference within the margin and a gain are no loss. With verdicts missing, the largest of the numbers asked for is asked for.

    Raises:
        ValueError: If there is no verdict.
    """
    if not verdicts:
        raise ValueError("a recipe without verdicts cannot be judged")
    worse = [metric for metric, verdict in verdicts.items() if verdict.word == WORSE]
    if worse:
        return Verdict(WORSE, reason=", ".join(worse))
    open_ones = {metric: verdict for metric, verdict in verdicts.items() if verdict.word == NOT_ENOUGH}
    if open_ones:
        asked = [verdict.n_needed for verdict in open_ones.values()]
        known = [number for number in asked if number is not None]
        return Verdict(
            NOT_ENOUGH, n_needed=max(known) if len(known) == len(asked) else None, reason=", ".join(open_ones)
        )
    return Verdict(EQUIVALENT)
