"""Measures of a film's pixels: is it a frontal chest, a negative, well exposed, the copy of another?

``contrast`` tells a chest: how much brighter the middle (spine, heart) is than the two lung zones, on grey ranks of a
64 x 64 picture, so that window and exposure do not matter. It is a sanity check for headers that are silent or wrong,
not a classifier: a symmetric object with a bright middle passes it. The limits stand in ``config/selection.toml``.

Rates, by ``python -m tests.film.rates`` over the test split of the film collection, stand in tests/film/test_chest.py.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.api import FloatImage, ImageInput

SIDE = 64
ROWS, RIGHT_LUNG, LEFT_LUNG, MIDDLE = slice(14, 40), slice(12, 26), slice(38, 52), slice(29, 36)
NEGATIVE_CONTRAST, POSITIVE_CONTRAST = 0.10, 0.0


def contrast(image: ImageInput) -> float:
    """How much brighter the middle is than the lung zones, -1..1."""
    return _contrast(_small(image.pixels))


def smoothness(image: ImageInput) -> float:
    """Correlation of neighbours in the small picture; noise has about 0, a radiograph nearly 1."""
    small = _small(image.pixels)
    return float(np.corrcoef(small[:, 1:].ravel(), small[:, :-1].ravel())[0, 1])


def saturated_share(image: ImageInput, ends: float) -> float:
    """Share of the middle of the film, where the lungs are, that lies within ``ends`` of the range at one of its ends.

    The greater of the two ends; padding counts at none.
    """
    rows, columns = image.shape
    middle = slice(rows // 5, rows - rows // 5), slice(columns // 6, columns - columns // 6)
    low, high = float(image.pixels.min()), float(image.pixels.max())
    inside = image.pixels[middle] if image.padding is None else image.pixels[middle][~image.padding[middle]]
    near = ends * (high - low)
    return float(max((inside <= low + near).mean(), (inside >= high - near).mean())) if inside.size else 0.0


def likeness(one: ImageInput, other: ImageInput) -> float:
    """Correlation of the two small pictures, -1..1; 1 for the same exposure in another size, window or processing."""
    return float(np.corrcoef(_small(one.pixels).ravel(), _small(other.pixels).ravel())[0, 1])


def looks_negative(image: ImageInput) -> bool:
    """Whether only the negative of the image looks like a frontal chest: bright lungs beside a dark middle."""
    small = _small(image.pixels)
    return _contrast(-small) > NEGATIVE_CONTRAST and _contrast(small) < POSITIVE_CONTRAST


def inverted(image: ImageInput) -> ImageInput:
    """The negative, over the same range of values; padding keeps the minimum."""
    inside = ~image.padding if image.padding is not None else np.ones(image.shape, bool)
    low, high = image.pixels[inside].min(), image.pixels[inside].max()
    pixels = np.where(inside, high + low - image.pixels, low).astype(np.float32)
    return ImageInput(pixels, image.uid, image.spacing_mm, image.padding)


def _small(pixels: FloatImage) -> NDArray[np.float64]:
    """(64, 64), box average."""
    return np.asarray(Image.fromarray(pixels, mode="F").resize((SIDE, SIDE), Image.Resampling.BOX), dtype=np.float64)


def _contrast(small: NDArray[np.float64]) -> float:
    """Mean rank of the middle minus that of the darker half of the brighter lung zone, -1..1."""
    from scipy import ndimage  # half a second, which only a process that looks at films pays

    smooth = ndimage.gaussian_filter(small, 1)
    rank = _ranks(smooth) / smooth.size
    middle = rank[12:44, MIDDLE].mean()
    return float(middle - max(_darker_half(rank[ROWS, RIGHT_LUNG]), _darker_half(rank[ROWS, LEFT_LUNG])))


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of the same shape, from 1; equal values share the mean of their ranks. (scipy.stats takes a second to import.)"""
    _, of, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray(last - (counts - 1) / 2)[of].reshape(values.shape)


def _darker_half(zone: NDArray[np.float64]) -> float:
    values = np.sort(zone.ravel())
    return float(values[: len(values) // 2].mean())
