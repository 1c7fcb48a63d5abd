"""Statistics of the five papers: agreement, paired tests, intervals of proportions, ranks, regression, Wald tests.

Plain arrays in, small frozen answers out; nothing here knows films or models. Every p is two-sided. The conventions are
those of the specification, sections 5.7, 6.6 and 9.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

EXACT_BELOW = 25  # discordant pairs: below, McNemar's test is the exact binomial one


@dataclass(frozen=True)
class McNemar:
    """b: the first reader right and the second wrong; c: the other way round. statistic: None for the exact test."""

    b: int
    c: int
    p: float
    statistic: float | None
    method: str  # "exact" or "chi2cc"


@dataclass(frozen=True)
class Regression:
    """Predicted against known values. r, p: Pearson with n - 2 degrees of freedom, NaN when either is constant."""

    n: int
    mse: float
    rmse: float
    mae: float
    r: float
    p: float
    r2: float  # 1 - SS_res / SS_tot: negative when worse than the mean


@dataclass(frozen=True)
class Coefficient:
    """One term of a logistic regression."""

    name: str
    value: float
    se: float
    p: float  # Wald

    @property
    def odds_ratio(self) -> float:
        return float(np.exp(self.value))


@dataclass(frozen=True)
class Tested:
    """A statistic and its two-sided p."""

    statistic: float
    p: float


def kappa(truth: ArrayLike, said: ArrayLike) -> float:
    """Cohen's kappa, unweighted, for any number of classes; NaN when both name a single class alone."""
    names, places = np.unique(np.concatenate((np.asarray(truth), np.asarray(said))), return_inverse=True)
    if len(names) < 2:
        return float("nan")
    one, two = places.reshape(2, -1)
    counts = np.bincount(one * len(names) + two, minlength=len(names) ** 2).reshape(len(names), -1) / len(one)
    by_chance = float(counts.sum(1) @ counts.sum(0))
    return (float(counts.trace()) - by_chance) / (1 - by_chance)


def mcnemar(b: int, c: int) -> McNemar:
    """Exact when b + c < 25, else chi-squared with continuity correction; p is 1 without discordant pairs."""
    if b + c < EXACT_BELOW:
        return McNemar(b, c, mcnemar_exact(b, c), None, "exact")
    chi = mcnemar_chi2(b, c)
    return McNemar(b, c, chi.p, chi.statistic, "chi2cc")


def mcnemar_exact(b: int, c: int) -> float:
    return float(stats.binomtest(b, b + c, 0.5).pvalue) if b + c else 1.0


def mcnemar_chi2(b: int, c: int) -> Tested:
    """(|b - c| - 1)^2 / (b + c), one degree of freedom."""
    statistic = (abs(b - c) - 1) ** 2 / (b + c)
    return Tested(statistic, float(stats.chi2.sf(statistic, 1)))


def paired(truth: ArrayLike, first: ArrayLike, second: ArrayLike) -> McNemar:
    """McNemar on who named the true class."""
    t = np.asarray(truth)
    one, two = np.asarray(first) == t, np.asarray(second) == t
    return mcnemar(int((one & ~two).sum()), int((~one & two).sum()))


def clopper_pearson(k: int, n: int, comparisons: int = 1, level: float = 0.95) -> tuple[float, float]:
    """Exact interval of k/n; ``comparisons`` m > 1: each interval at 1 - (1 - level)/m (Bonferroni)."""
    return _proportion(k, n, comparisons, level, "exact")


def wilson(k: int, n: int, comparisons: int = 1, level: float = 0.95) -> tuple[float, float]:
    return _proportion(k, n, comparisons, level, "wilson")


def _proportion(k: int, n: int, comparisons: int, level: float, method: str) -> tuple[float, float]:
    if n == 0:
        return float("nan"), float("nan")
    confidence = 1 - (1 - level) / comparisons
    test = stats.binomtest(k, n)
    found = test.proportion_ci(confidence, "exact") if method == "exact" else test.proportion_ci(confidence, "wilson")
    return float(found.low), float(found.high)


def regression(known: ArrayLike, predicted: ArrayLike) -> Regression:
    """Figures of at least two pairs."""
    y, p = np.asarray(known, dtype=float), np.asarray(predicted, dtype=float)
    error = p - y
    mse = float((error**2).mean())
    spread = float(((y - y.mean()) ** 2).sum())
    r2 = 1 - float((error**2).sum()) / spread if spread else float("nan")
    r, r_p = float("nan"), float("nan")
    if len(y) > 2 and spread and np.ptp(p):
        found = stats.pearsonr(y, p)
        r, r_p = float(found.statistic), float(found.pvalue)
    return Regression(len(y), mse, mse**0.5, float(np.abs(error).mean()), r, r_p, r2)


def critical_r(df: int, alpha: float) -> float:
    """The smallest |r| that is significant at the two-sided level; df = n - 2."""
    t = float(stats.t.isf(alpha / 2, df))
    return t / math.sqrt(df + t * t)


def rank_sum(a: ArrayLike, c: ArrayLike) -> Tested:
    """Wilcoxon rank-sum by the normal approximation: z and p. For small groups see ``mann_whitney``."""
    found = stats.ranksums(np.asarray(a, dtype=float), np.asarray(c, dtype=float))
    return Tested(float(found.statistic), float(found.pvalue))


def mann_whitney(a: ArrayLike, c: ArrayLike) -> Tested:
    """The exact rank-sum test; without ties."""
    found = stats.mannwhitneyu(np.asarray(a, dtype=float), np.asarray(c, dtype=float), method="exact")
    return Tested(float(found.statistic), float(found.pvalue))


def signed_rank(a: ArrayLike, c: ArrayLike) -> Tested:
    """Wilcoxon signed-rank of pairs."""
    found = stats.wilcoxon(np.asarray(a, dtype=float), np.asarray(c, dtype=float))
    return Tested(float(found.statistic), float(found.pvalue))


def normality(values: ArrayLike) -> Tested:
    """Kolmogorov-Smirnov of the z-scored values against N(0, 1).

    Mean and deviation are those of the sample itself, so p is optimistic.
    """
    x = np.asarray(values, dtype=float)
    found = stats.kstest((x - x.mean()) / x.std(ddof=1), "norm")
    return Tested(float(found.statistic), float(found.pvalue))


def stars(p: float) -> str:
    """p < .05 *, < .01 **, < .001 ***, else -."""
    return "***" if p < 0.001 else "**" if p < 0.01 else "*" if p < 0.05 else "-"


def logistic(outcome: ArrayLike, terms: NDArray[np.float64], names: Sequence[str]) -> tuple[Coefficient, ...]:
    """Maximum likelihood by Newton's method. ``terms``: (case, term); the intercept is added and comes first.

    ValueError when the terms separate the outcome or depend on each other: there is then no finite answer.
    """
    y = np.asarray(outcome, dtype=float)
    x = np.column_stack((np.ones(len(y)), terms))
    beta = np.zeros(x.shape[1])
    for _ in range(50):
        p = 1 / (1 + np.exp(-np.clip(x @ beta, -500, 500)))
        information = x.T @ (x * (p * (1 - p))[:, None])
        if np.linalg.cond(information) > 1e12:
            raise ValueError("the terms separate the outcome or depend on each other")
        step = np.linalg.solve(information, x.T @ (y - p))
        beta = beta + step
        if np.abs(step).max() < 1e-10:
            se = np.sqrt(np.diag(np.linalg.inv(information)))
            wald = 2 * stats.norm.sf(np.abs(beta / se))
            rows = zip(("intercept", *names), beta, se, wald, strict=True)
            return tuple(Coefficient(name, float(b), float(s), float(w)) for name, b, s, w in rows)
    raise ValueError("the fit did not settle: the terms separate the outcome")
