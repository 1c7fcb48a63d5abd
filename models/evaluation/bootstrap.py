"""Percentile bootstrap: 1000 resamples of n cases with replacement, 2.5 and 97.5 %."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from models.evaluation.metrics import Figure

RESAMPLES = 1000
Statistic = Callable[[NDArray[np.int64]], float]  # case numbers -> value


def interval(statistic: Statistic, cases: int, seed: int = 0, resamples: int = RESAMPLES) -> tuple[float, float]:
    """(low, high); resamples in which the statistic is undefined (NaN) are skipped."""
    random = np.random.default_rng(seed)
    values = [statistic(random.integers(0, cases, cases)) for _ in range(resamples)]
    defined = np.array([value for value in values if not np.isnan(value)])
    if not defined.size:
        return float("nan"), float("nan")
    low, high = np.percentile(defined, (2.5, 97.5))
    return float(low), float(high)


def figure(statistic: Statistic, cases: int, seed: int = 0) -> Figure:
    """The value on all cases with its interval."""
    low, high = interval(statistic, cases, seed)
    return Figure(statistic(np.arange(cases)), low, high, cases)
