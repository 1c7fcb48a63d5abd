"""Intensity operations of the published systems. Arrays are (row, column); ``u8`` means uint8, 0..255.

Formulas and their numeric checks: docs/models.md and tests/models/test_intensity.py. OpenCV is not used; CLAHE follows
its semantics (clip limit in units of the mean bin, excess redistributed once, bilinear between tile centres).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

U8 = NDArray[np.uint8]
Floats = NDArray[np.float64]


def to_u8(image: NDArray[np.generic]) -> U8:
    """round(255 (v - min) / (max - min)), half to even; a constant image gives 0."""
    values = image.astype(np.float64)
    low, high = values.min(), values.max()
    if high <= low:
        return np.zeros(values.shape, np.uint8)
    return np.asarray(np.rint(255.0 * (values - low) / (high - low)), dtype=np.uint8)


def window(values: NDArray[np.generic], centre: float, width: float) -> Floats:
    """Clip [centre - width/2, centre + width/2] and scale to 0..255 (float)."""
    low = centre - width / 2
    return np.asarray(np.clip((values.astype(np.float64) - low) / width, 0.0, 1.0) * 255.0)


def equalise_histogram(image: NDArray[np.integer]) -> Floats:
    """(cdf(v) - cdf_min) / (N - cdf_min) * 255 over the grey levels present; constant image -> 0 (paper 003)."""
    levels, inverse, counts = np.unique(image, return_inverse=True, return_counts=True)
    cdf = np.cumsum(counts).astype(np.float64)
    if len(levels) == 1:
        return np.zeros(image.shape)
    table = (cdf - cdf[0]) / (cdf[-1] - cdf[0]) * 255.0
    return np.asarray(table[inverse].reshape(image.shape))


def gamma(values: NDArray[np.generic], exponent: float = 0.5) -> Floats:
    """255 (v / 255) ** exponent."""
    return np.asarray(255.0 * (values.astype(np.float64) / 255.0) ** exponent)


def jet(image: U8) -> U8:
    """Pseudo-colour, (row, column, RGB): each channel clip(1.5 - |4 v/255 - k|, 0, 1), k = 3, 2, 1."""
    four = 4.0 * image.astype(np.float64)[..., None] / 255.0
    return np.asarray(
        np.rint(255.0 * np.clip(1.5 - np.abs(four - np.array([3.0, 2.0, 1.0])), 0.0, 1.0)), dtype=np.uint8
    )


def beasf(image: U8, strength: float = 1.5, mode: Literal["clean", "released"] = "clean") -> U8:
    """Bi-histogram equalisation with an adaptive sigmoid function (paper 004; models specification 7.3).

    clean: the published formula. released: the behaviour of the released code, whose histogram spans
    [min, max] of the image while the bin index is used as grey level; for weights trained with it.
    """
    table = _beasf_table(image, strength) if mode == "clean" else _beasf_table_released(image, strength)
    return table[image]


def _medians(counts: Floats, mean: int) -> tuple[int, int]:
    """Grey levels where the cumulated share of the lower [0, mean] and upper [mean, 255] part passes one half."""
    lower = np.cumsum(counts[: mean + 1])
    upper = np.cumsum(counts[mean:])
    return int(np.argmax(lower > 0.5 * lower[-1])), mean + int(np.argmax(upper > 0.5 * upper[-1]))


def _sigmoid(x: NDArray[np.generic], strength: float, middle: float, span: float) -> Floats:
    return np.asarray(1.0 / (1.0 + np.exp(-strength * 5.0 * (x.astype(np.float64) - middle) / span)))


def _beasf_table(image: U8, strength: float) -> U8:
    mean = int(np.floor(image.mean()))
    low_median, high_median = _medians(np.bincount(image.ravel(), minlength=256).astype(np.float64), mean)
    table = np.arange(256, dtype=np.float64)
    if mean > 0:
        x = np.arange(mean + 1)
        s = _sigmoid(x, strength, low_median, mean)
        table[: mean + 1] = mean * (s - s[0]) / (s[-1] - s[0])
    if mean < 254:
        x = np.arange(mean + 1, 256)
        s = _sigmoid(x, strength, high_median, 255 - mean)
        table[mean + 1 :] = mean + 1 + (254 - mean) * (s - s[0]) / (s[-1] - s[0])
    return np.asarray(np.rint(table), dtype=np.uint8)


def _beasf_table_released(image: U8, strength: float) -> U8:
    mean = int(np.floor(image.mean()))
    counts = np.histogram(image, bins=256, range=(float(image.min()), float(image.max())))[0].astype(np.float64)
    low_median, high_median = _medians(counts, mean)
    high_median = max(mean, high_median - 1)
    table = np.arange(256, dtype=np.float64)
    if mean > 0:
        v = np.trunc(mean * _sigmoid(np.arange(mean + 1), strength, low_median, mean))
        table[: mean + 1] = np.trunc(mean / (v[-1] - v[0]) * (v - v[0])) if v[-1] > v[0] else v
    if mean < 254:
        x = np.arange(mean + 1, 256)
        v = np.trunc(mean + (255 - mean) * _sigmoid(x - 1, strength, high_median, 255 - mean))
        table[mean + 1 :] = (255 - mean) * (v - v[0]) / (v[-1] - v[0]) + mean if v[-1] > v[0] else v
    return np.trunc(np.clip(table, 0, 255)).astype(np.uint8)


def clahe(image: U8, clip_limit: float = 2.0, tiles: int = 8) -> U8:
    """Contrast-limited adaptive histogram equalisation with OpenCV's semantics (paper 004)."""
    rows, columns = image.shape
    padded = np.pad(image, ((0, -rows % tiles), (0, -columns % tiles)), mode="reflect")
    height, width = padded.shape[0] // tiles, padded.shape[1] // tiles
    tables = _clahe_tables(padded, tiles, height, width, clip_limit)
    return _between_tiles(image, tables, tiles, height, width)


def _clahe_tables(padded: U8, tiles: int, height: int, width: int, clip_limit: float) -> Floats:
    """(tile row, tile column, 256) look-up tables."""
    area = height * width
    clip = max(1, int(clip_limit * area / 256))
    blocks = padded.reshape(tiles, height, tiles, width).swapaxes(1, 2).reshape(tiles * tiles, area)
    offsets = 256 * np.arange(tiles * tiles)[:, None]
    counts = np.bincount((blocks + offsets).ravel(), minlength=256 * tiles * tiles).reshape(-1, 256)
    excess = np.maximum(counts - clip, 0).sum(axis=1)
    counts = np.minimum(counts, clip) + (excess // 256)[:, None]
    for tile, rest in enumerate(excess % 256):
        if rest:
            step = max(256 // int(rest), 1)
            counts[tile, np.arange(0, 256, step)[: int(rest)]] += 1
    tables = np.rint(np.cumsum(counts, axis=1) * (255.0 / area))
    return np.asarray(np.clip(tables, 0, 255).reshape(tiles, tiles, 256))


def _between_tiles(image: U8, tables: Floats, tiles: int, height: int, width: int) -> U8:
    """Bilinear interpolation between the four nearest tile centres; the edge tiles extend outwards."""
    rows, columns = image.shape
    y = (np.arange(rows) / height - 0.5)[:, None]
    x = (np.arange(columns) / width - 0.5)[None, :]
    top, left = np.floor(y).astype(int), np.floor(x).astype(int)
    fy, fx = y - top, x - left
    y0, y1 = np.clip(top, 0, tiles - 1), np.clip(top + 1, 0, tiles - 1)
    x0, x1 = np.clip(left, 0, tiles - 1), np.clip(left + 1, 0, tiles - 1)
    upper = tables[y0, x0, image] * (1 - fx) + tables[y0, x1, image] * fx
    lower = tables[y1, x0, image] * (1 - fx) + tables[y1, x1, image] * fx
    return np.asarray(np.rint(upper * (1 - fy) + lower * fy), dtype=np.uint8)
