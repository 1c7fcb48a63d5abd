"""ROC and precision-recall on the thresholds k/200, confusion matrices, and the one-versus-rest table of the classes.

Rows of a confusion matrix are the truth, columns what was said. Ratios whose denominator is 0 are NaN.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.evaluation import metrics
from models.evaluation.metrics import THRESHOLDS, Confusion
from models.evaluation.statistics import clopper_pearson


@dataclass(frozen=True)
class ClassRow:
    """One class against all others; ``support``: cases of the class."""

    name: str
    support: int
    sensitivity: float
    specificity: float
    ppv: float
    npv: float
    f1: float


def roc(truth: ArrayLike, score: ArrayLike) -> NDArray[np.float64]:
    """(201, 2): false and true positive rate at k/200, k rising."""
    return metrics.roc_on_grid(truth, score)


def roc_area(points: NDArray[np.float64]) -> float:
    """Trapezoid over the grid, closed at (0, 0): scores of exactly 1 are positive at the last threshold too."""
    closed = np.vstack((points, (0.0, 0.0)))
    return float(abs(np.trapezoid(closed[:, 1], closed[:, 0])))


def precision_recall(truth: ArrayLike, score: ArrayLike) -> NDArray[np.float64]:
    """(201, 2): recall and precision at k/200, k rising; precision is NaN where nothing is called positive."""
    t, s = np.asarray(truth, dtype=bool), np.asarray(score, dtype=float)
    positive = s[None, :] >= THRESHOLDS[:, None]
    hits, called = (positive & t).sum(1), positive.sum(1)
    precision = np.divide(hits, called, out=np.full(len(THRESHOLDS), np.nan), where=called > 0)
    return np.stack((hits / t.sum(), precision), axis=1)


def confusion_matrix(truth: ArrayLike, said: ArrayLike, classes: int) -> NDArray[np.int64]:
    """(class, class) counts."""
    counts = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(counts, (np.asarray(truth, dtype=int), np.asarray(said, dtype=int)), 1)
    return counts


def row_shares(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Each row over its sum; a row without cases is NaN."""
    sums = counts.sum(1, keepdims=True)
    return np.asarray(np.divide(counts, sums, out=np.full(counts.shape, np.nan), where=sums > 0))


def one_against_rest(counts: NDArray[np.int64], number: int) -> Confusion:
    tp = int(counts[number, number])
    fn, fp = int(counts[number].sum()) - tp, int(counts[:, number].sum()) - tp
    return Confusion(tp, fn, fp, int(counts.sum()) - tp - fn - fp)


def class_table(counts: NDArray[np.int64], names: Sequence[str]) -> list[ClassRow]:
    """Figures of every class against the rest."""
    rows = []
    for number, name in enumerate(names):
        one = one_against_rest(counts, number)
        npv = one.tn / (one.tn + one.fn) if one.tn + one.fn else float("nan")
        support = one.tp + one.fn
        rows.append(ClassRow(name, support, one.sensitivity, one.specificity, one.precision, npv, one.f1))
    return rows


def averages(rows: Sequence[ClassRow]) -> dict[str, dict[str, float]]:
    """Macro and support-weighted means over the classes that have cases."""
    some = [row for row in rows if row.support]
    weights = {"macro": [1.0] * len(some), "weighted": [float(row.support) for row in some]}
    fields = ("sensitivity", "specificity", "ppv", "npv", "f1")
    return {
        kind: {
            name: float(np.average([np.nan_to_num(getattr(row, name)) for row in some], weights=w)) for name in fields
        }
        for kind, w in weights.items()
    }


def predictive_values(one: Confusion) -> Mapping[str, tuple[float, float, float]]:
    """Positive and negative predictive value with Clopper-Pearson limits at 95 % for both together (Bonferroni)."""
    found = {}
    for name, k, n in (("ppv", one.tp, one.tp + one.fp), ("npv", one.tn, one.tn + one.fn)):
        found[name] = (k / n if n else float("nan"), *clopper_pearson(k, n, comparisons=2))
    return found


def reliability(truth: ArrayLike, p: ArrayLike, bins: int = 10) -> tuple[NDArray[np.float64], float]:
    """((bin, 3): mean probability, share positive, cases; expected calibration error).

    Bins are equally wide; p = 1 belongs to the last; an empty bin has NaN and weighs nothing.
    """
    t, s = np.asarray(truth, dtype=float), np.asarray(p, dtype=float)
    place = np.minimum((s * bins).astype(int), bins - 1)
    rows = np.full((bins, 3), np.nan)
    rows[:, 2] = np.bincount(place, minlength=bins)
    for number in np.unique(place):
        rows[number, :2] = s[place == number].mean(), t[place == number].mean()
    gaps = np.nan_to_num(np.abs(rows[:, 0] - rows[:, 1]))
    return rows, float((gaps * rows[:, 2]).sum() / len(s))
