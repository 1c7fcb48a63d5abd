"""Percentile bootstrap: 1000 resamples of n cases with replacement, 2.5 and 97.5 %."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from models.evaluation.metrics import Figure

RESAMPLES = 1000
Statistic = Callable[[NDArray[np.int64]], float]  # case numbers -> value


def resample(
    statistic: Statistic, cases: int, seed: int = 0, resamples: int = RESAMPLES
) -> tuple[NDArray[np.float64], int]:
    """The defined values, and in how many resamples the statistic was undefined (NaN)."""
    random = np.random.default_rng(seed)
    values = np.array([statistic(random.integers(0, cases, cases)) for _ in range(resamples)], dtype=float)
    missing = np.isnan(values)
    return values[~missing], int(missing.sum())


def interval(statistic: Statistic, cases: int, seed: int = 0, resamples: int = RESAMPLES) -> tuple[float, float]:
    """(low, high); resamples in which the statistic is undefined (NaN) are skipped."""
    return limits(resample(statistic, cases, seed, resamples)[0])


def limits(values: NDArray[np.float64]) -> tuple[float, float]:
    """2.5 and 97.5 % of the values; NaN when there are none."""
    if not values.size:
        return float("nan"), float("nan")
    low, high = np.percentile(values, (2.5, 97.5))
    return float(low), float(high)


def figure(statistic: Statistic, cases: int, seed: int = 0) -> Figure:
    """The value on all cases with its interval."""
    low, high = interval(statistic, cases, seed)
    return Figure(statistic(np.arange(cases)), low, high, cases)
