"""LIME for images (paper 004; specification 7.8): which superpixels carry a prediction, and in which direction.

The picture is cut by quickshift; samples hide random superpixels (black); a ridge regression over what stays visible,
weighted by its likeness to the whole picture, gives each superpixel a weight. It knows nothing of the network but its
answers. The same picture, seed and answers give the same weights.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from skimage.segmentation import quickshift
from sklearn.linear_model import Ridge

from models.images.geometry import Box
from models.images.intensity import U8

SAMPLES, BATCH, SEED, TOP = 1000, 64, 18, 5
KERNEL_WIDTH, RIDGE_ALPHA = 0.25, 1.0
KERNEL_SIZE, MAX_DISTANCE, RATIO = 4, 200, 0.2  # of quickshift

Predict = Callable[[U8], NDArray[np.floating]]  # (n, row, column, 3) -> (n,) probability of the class asked about


@dataclass(frozen=True)
class Superpixels:
    """labels: (row, column) number of each pixel's superpixel, 0.. without gaps. weights: one for each superpixel,
    positive where it supports the class. top: the heaviest superpixels, either sign, by falling size of the weight.
    fidelity: the share of the variance of the predictor's answers (R2) that the weights explain; 1 is all of it."""

    labels: NDArray[np.int64]
    weights: NDArray[np.float64]
    top: tuple[int, ...]
    fidelity: float

    @property
    def signs(self) -> NDArray[np.int8]:
        """(row, column): 1 where a top superpixel supports the class (green), -1 where it opposes it (red), else 0."""
        kept = np.zeros(len(self.weights), np.int8)
        chosen = list(self.top)
        kept[chosen] = np.sign(self.weights[chosen]).astype(np.int8)
        return np.asarray(kept[self.labels])


@dataclass(frozen=True)
class Explained:
    """What a system says of a film, by superpixels of its own picture, which is ``box`` of the film stretched to a
    square. probability: of ``class_name``, the class asked about."""

    pieces: Superpixels
    box: Box
    class_name: str
    probability: float


def explain(picture: U8, predict: Predict, *, samples: int = SAMPLES, top: int = TOP, seed: int = SEED) -> Superpixels:
    """Explain ``predict`` about one picture (row, column, 3); the first sample is the whole picture."""
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8:
        raise ValueError(f"picture must be (row, column, 3) 8 bit, got {picture.shape} {picture.dtype}")
    labels = superpixels(picture, seed)
    count = int(labels.max()) + 1
    visible = np.random.default_rng(seed).integers(0, 2, (samples, count)).astype(bool)
    visible[0] = True
    answers = np.concatenate(
        [predict(_hidden(picture, labels, part)) for part in np.split(visible, range(BATCH, samples, BATCH))]
    )
    shown, near = visible.astype(float), likeness(visible)
    ridge = Ridge(alpha=RIDGE_ALPHA).fit(shown, answers, sample_weight=near)
    weights = np.asarray(ridge.coef_, dtype=np.float64)
    heaviest = np.argsort(-np.abs(weights), kind="stable")[:top].tolist()
    return Superpixels(labels, weights, tuple(heaviest), float(ridge.score(shown, answers, sample_weight=near)))


def superpixels(picture: U8, seed: int = SEED) -> NDArray[np.int64]:
    """(row, column) labels 0.. of quickshift."""
    found = quickshift(picture, ratio=RATIO, kernel_size=KERNEL_SIZE, max_dist=MAX_DISTANCE, rng=seed)
    return np.unique(found, return_inverse=True)[1].reshape(found.shape).astype(np.int64)


def likeness(visible: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Weight of each sample (sample, superpixel) by its cosine distance d from the whole: sqrt(exp(-d^2 / width^2))."""
    cosine = np.sqrt(visible.mean(axis=1))  # of a vector of 0 and 1 with the vector of ones
    return np.asarray(np.sqrt(np.exp(-((1 - cosine) ** 2) / KERNEL_WIDTH**2)))


def _hidden(picture: U8, labels: NDArray[np.int64], visible: NDArray[np.bool_]) -> U8:
    """(n, row, column, 3): the picture with the superpixels of each sample that are not visible black."""
    return np.asarray(picture[None] * visible[:, labels][..., None], dtype=np.uint8)
