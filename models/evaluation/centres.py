"""How near a system's lesion centres are to an expert's (paper 000; specification 3.7). Coordinates in 0..1."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment

from models.evaluation.statistics import Regression, regression


@dataclass(frozen=True)
class Matching:
    """``pairs``: (n, 2) numbers of found and known centres. The rest of either side stays alone."""

    pairs: NDArray[np.int64]
    found_alone: int
    known_alone: int


def match(found: ArrayLike, known: ArrayLike) -> Matching:
    """One to one, with the smallest sum of distances. Both (n, 2) of x, y."""
    p, q = np.reshape(np.asarray(found, dtype=float), (-1, 2)), np.reshape(np.asarray(known, dtype=float), (-1, 2))
    distance = np.linalg.norm(p[:, None] - q[None], axis=2)
    pairs = np.stack(linear_sum_assignment(distance), axis=1)
    return Matching(pairs.astype(np.int64), len(p) - len(pairs), len(q) - len(pairs))


def agreement(found: ArrayLike, known: ArrayLike) -> tuple[Regression, Matching]:
    """Regression figures over x and y of all matched centres; ValueError when nothing can be matched."""
    p, q = np.reshape(np.asarray(found, dtype=float), (-1, 2)), np.reshape(np.asarray(known, dtype=float), (-1, 2))
    matching = match(p, q)
    if not len(matching.pairs):
        raise ValueError("no centre on one of the two sides")
    return regression(q[matching.pairs[:, 1]].ravel(), p[matching.pairs[:, 0]].ravel()), matching
