"""Figures of merit. Positive if score >= threshold; thresholds of curves are k/200 (never k * 0.005)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata
from sklearn.metrics import cohen_kappa_score

from models.api import Mask

THRESHOLDS = np.arange(201) / 200


@dataclass(frozen=True)
class Figure:
    """One measured number with its 95 % bootstrap interval and the number of cases behind it."""

    value: float
    low: float
    high: float
    cases: int


@dataclass(frozen=True)
class Confusion:
    """Binary counts. Ratios whose denominator is 0 are NaN."""

    tp: int
    fn: int
    fp: int
    tn: int

    @property
    def sensitivity(self) -> float:
        return _ratio(self.tp, self.tp + self.fn)

    @property
    def specificity(self) -> float:
        return _ratio(self.tn, self.tn + self.fp)

    @property
    def precision(self) -> float:
        return _ratio(self.tp, self.tp + self.fp)

    @property
    def accuracy(self) -> float:
        return _ratio(self.tp + self.tn, self.tp + self.fn + self.fp + self.tn)

    @property
    def f1(self) -> float:
        return _ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn)

    @property
    def kappa(self) -> float:
        truth = [1] * (self.tp + self.fn) + [0] * (self.fp + self.tn)
        said = [1] * self.tp + [0] * self.fn + [1] * self.fp + [0] * self.tn
        return float(cohen_kappa_score(truth, said))


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")


def confusion(truth: ArrayLike, positive: ArrayLike) -> Confusion:
    t, p = np.asarray(truth, dtype=bool), np.asarray(positive, dtype=bool)
    return Confusion(int((t & p).sum()), int((t & ~p).sum()), int((~t & p).sum()), int((~t & ~p).sum()))


def auroc(truth: ArrayLike, score: ArrayLike) -> float:
    """Exact area under the ROC; NaN when one class is missing."""
    t = np.asarray(truth, dtype=bool)
    ill, well = int(t.sum()), int((~t).sum())
    if not ill or not well:
        return float("nan")
    ranks = rankdata(np.asarray(score, dtype=float))  # ties share their mean rank and so count one half
    return float((ranks[t].sum() - ill * (ill + 1) / 2) / (ill * well))


def average_precision(truth: ArrayLike, score: ArrayLike) -> float:
    """Mean precision at each score, weighted by the recall gained there; NaN without a positive case."""
    t, s = np.asarray(truth, dtype=bool), np.asarray(score, dtype=float)
    if not t.any():
        return float("nan")
    order = np.argsort(-s, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(s[order])), len(s) - 1)  # equal scores are called together
    hits = np.cumsum(t[order])[ends]
    return float((np.diff(hits, prepend=0) / t.sum() * hits / (ends + 1)).sum())


def roc_on_grid(truth: ArrayLike, score: ArrayLike) -> NDArray[np.float64]:
    """(201, 2): false and true positive rate at each of the thresholds k/200."""
    t, s = np.asarray(truth, dtype=bool), np.asarray(score, dtype=float)
    positive = s[None, :] >= THRESHOLDS[:, None]
    return np.stack(((positive & ~t).sum(1) / (~t).sum(), (positive & t).sum(1) / t.sum()), axis=1)


def smoothed_jaccard(a: Mask, b: Mask) -> float:
    """(|A and B| + 1) / (|A or B| + 1), as paper 003's released code counts."""
    return float((int((a & b).sum()) + 1) / (int((a | b).sum()) + 1))


def jaccard(a: Mask, b: Mask) -> float:
    """|A and B| / |A or B|; two empty masks agree."""
    union = int((a | b).sum())
    return float((a & b).sum() / union) if union else 1.0
