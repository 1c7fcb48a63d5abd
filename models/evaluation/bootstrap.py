"""Percentile bootstrap: 1000 resamples of n cases with replacement, 2.5 and 97.5 %."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.evaluation.metrics import Figure

RESAMPLES = 1000
Statistic = Callable[[NDArray[np.int64]], float]  # case numbers -> value


@dataclass(frozen=True)
class Resampled:
    """A figure, the defined values behind its interval, and in how many resamples there was none."""

    figure: Figure
    values: NDArray[np.float64]
    skipped: int


def resampled(statistic: Statistic, cases: int, seed: int = 0, resamples: int = RESAMPLES) -> Resampled:
    """The value on all cases with its interval; resamples in which the statistic is undefined (NaN) are skipped."""
    if not cases:
        return Resampled(Figure(float("nan"), float("nan"), float("nan"), 0), np.empty(0), 0)
    random = np.random.default_rng(seed)
    drawn = np.array([statistic(random.integers(0, cases, cases)) for _ in range(resamples)], dtype=float)
    values = drawn[~np.isnan(drawn)]
    low, high = np.percentile(values, (2.5, 97.5)) if values.size else (float("nan"), float("nan"))
    found = Figure(float(statistic(np.arange(cases))), float(low), float(high), cases)
    return Resampled(found, values, resamples - len(values))


def interval(statistic: Statistic, cases: int, seed: int = 0, resamples: int = RESAMPLES) -> tuple[float, float]:
    """(low, high)."""
    found = resampled(statistic, cases, seed, resamples).figure
    return found.low, found.high


def figure(statistic: Statistic, cases: int, seed: int = 0) -> Figure:
    """The value on all cases with its interval."""
    return resampled(statistic, cases, seed).figure


def mean_of(values: NDArray[np.float64]) -> Statistic:
    """The mean of one value for each case, as a statistic."""
    return lambda chosen: float(values[chosen].mean())
