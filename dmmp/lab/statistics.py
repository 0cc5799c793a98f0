"""Means with their intervals, and how a figure grows with size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from dmmp.errors import UsageError

CONFIDENCE = 0.95


class Interval(NamedTuple):
    """An estimate, the ends of its 95 % interval, and how many values it comes from."""

    value: float
    low: float
    high: float
    values: int

    @property
    def half(self) -> float:
        """Half the width of the interval."""
        return (self.high - self.low) / 2


def mean_interval(values: Sequence[float]) -> Interval:
    """Return the mean with its t-interval; a single value has an interval without ends.

    Values that are not numbers are left out. Raises UsageError if none remains.
    """
    kept = np.asarray(values, dtype=np.float64)
    kept = kept[np.isfinite(kept)]
    if not len(kept):
        raise UsageError("a mean needs at least one value")
    mean = float(kept.mean())
    if len(kept) == 1:
        return Interval(mean, -np.inf, np.inf, 1)
    error = float(kept.std(ddof=1)) / np.sqrt(len(kept))
    half = _quantile_of_t(len(kept) - 1) * error
    return Interval(mean, mean - half, mean + half, len(kept))


def growth_exponent(sizes: Sequence[float], values: Sequence[float]) -> Interval:
    """Return b of value = a × size^b with its interval: the slope through the logarithms.

    Raises UsageError if there are fewer than three points, or one is not positive.
    """
    if len(sizes) != len(values) or len(set(sizes)) < 3:
        raise UsageError("a growth exponent needs at least three sizes and a value for each")
    if min(sizes) <= 0 or min(values) <= 0:
        raise UsageError("a growth exponent needs sizes and values above 0")
    fit = stats.linregress(np.log(sizes), np.log(values))
    half = _quantile_of_t(len(sizes) - 2) * float(fit.stderr)
    slope = float(fit.slope)
    return Interval(slope, slope - half, slope + half, len(sizes))


def quantiles(
    values: Sequence[float], at: Sequence[float] = (0.05, 0.25, 0.5, 0.75, 0.95)
) -> dict[float, float]:
    """Return these quantiles of what is a number among the values."""
    kept = np.asarray(values, dtype=np.float64)
    kept = kept[np.isfinite(kept)]
    if not len(kept):
        raise UsageError("a quantile needs at least one value")
    return {share: float(np.quantile(kept, share)) for share in at}


def _quantile_of_t(freedom: int) -> float:
    return float(stats.t.ppf((1 + CONFIDENCE) / 2, freedom))
