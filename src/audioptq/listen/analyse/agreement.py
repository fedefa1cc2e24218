"""How far listeners agree: Krippendorff's alpha for ratings on an interval scale."""

import numpy as np
from numpy.typing import NDArray


def krippendorff_alpha(values: NDArray[np.float64]) -> float:
    """Alpha of ratings: 1 where all agree, 0 where they agree as chance would, below 0 where less; NaN if nothing varies.

    K. Krippendorff, "Computing Krippendorff's alpha-reliability" (2011), with the interval metric (a - b)^2. Units that one
    listener alone has rated say nothing of agreement and are left out.

    Args:
        values: `[listeners, units]`, NaN where a listener has not rated a unit.
    """
    columns = [column[np.isfinite(column)] for column in np.asarray(values, dtype=np.float64).T]
    pairable = [column for column in columns if len(column) > 1]
    if not pairable:
        return float("nan")
    everything = np.concatenate(pairable)
    n = len(everything)
    # Summed over ordered pairs, (a - b)^2 is 2 n sum(a^2) - 2 (sum a)^2.
    expected = _pairs(everything) / (n * (n - 1))
    observed = sum(_pairs(column) / (len(column) - 1) for column in pairable) / n
    return 1 - observed / expected if expected > 1e-12 else float("nan")


def _pairs(column: NDArray[np.float64]) -> float:
    """Sum of the squared differences of all ordered pairs."""
    centred = column - column.mean()
    return float(2 * len(column) * np.square(centred).sum())
