"""The lungs of a CT series as a volume, by density and shape alone; no network, nothing learnt.

Hounsfield units (slice, row, column) as ``VolumeInput`` says systems are given them; parts come out in the same matrix.
Lung is what is less dense than -400 HU inside the body, joined in three dimensions, without windpipe and bowel gas;
vessels and dense spots up to about a centimetre across are closed. Dense lung at the pleura is missed, as by every
threshold. The work is done on every n-th pixel and refined on all of them along the border.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from models.api import FloatImage, LungPart, Mask, RefusedInput
from models.images.geometry import largest_parts
from models.images.intensity import U8
from models.images.volume import SEARCH_SIDE

TISSUE = -400.0  # HU; above lung and most ground glass, far below soft tissue
GAS = -930.0  # HU; below lies the air of windpipe and bowel, and badly damaged lung
ALL_GAS = 0.7  # share of gas above which a part is no lung
USUAL_SPACING = (5.0, 0.75, 0.75)  # mm, where the series states none
LEAST_SHARE = 0.005  # of the body; less is no lung
SECOND_SHARE = 0.15  # of the first part; a smaller second one is not the other lung
TWIN_SHARE = 0.3  # of the larger; what splits less evenly is one lung
CLOSED_MM = 12.0  # widest gap that is closed: vessels at the hilum
WINDPIPE_MM2 = (40.0, 700.0)  # cross-section, carina included
WIDENING = 2.0  # from slice to slice; more is a leak into the lung
MIDDLE = (0.35, 0.65)  # of the body's width, where the windpipe begins
WALL = 3  # erosions that may part the windpipe from a lung
DEEPEST = 6  # erosions that may part two lungs
STRIDE = 2  # dilations of one lung before it is the other's turn
CROSS = ndimage.generate_binary_structure(3, 1)
NONE_FOUND = "No lung was found in the series."


def lung_parts(voxels: FloatImage, spacing_mm: tuple[float, float, float] | None) -> U8:
    """(slice, row, column): 0 outside, else a ``LungPart``. RefusedInput where there is no lung."""
    step = max(1, min(voxels.shape[1:]) // SEARCH_SIDE)
    _, high, wide = spacing_mm or USUAL_SPACING
    pixel = (high * step, wide * step)
    small = voxels[:, ::step, ::step]
    body = np.stack([largest_parts(np.asarray(plane > TISSUE), 1) for plane in small])
    air = body & (small < TISSUE)
    air &= ~_windpipe(air, small, pixel[0] * pixel[1])
    parts = _two_lungs(air, small, LEAST_SHARE * int(body.sum()), middle=_place(body)[1])
    _close(parts, body, pixel)
    return _refined(parts, voxels, step)


def _windpipe(air: Mask, small: FloatImage, pixel_mm2: float) -> Mask:
    """Windpipe and main bronchi, followed from slice to slice until they would leak into the lung."""
    found = np.zeros(air.shape, np.bool_)
    first, seed = _start(air, small, pixel_mm2)
    for way in (-1, 1):
        last, number = seed, first
        while 0 <= number < len(air) and last.any():
            last = _next(air[number], last, pixel_mm2)
            found[number] |= last
            number += way
    return np.asarray(ndimage.binary_dilation(found, np.ones((1, 3, 3), bool)))


def _start(air: Mask, small: FloatImage, pixel_mm2: float) -> tuple[int, Mask]:
    """(slice, cross-section) where, from the head, the windpipe is first seen; an empty cross-section where nowhere."""
    for number in range(len(air) - 1, len(air) // 3, -1):
        columns = np.flatnonzero((small[number] > TISSUE).any(axis=0))
        if not columns.size:
            continue
        left, right = (columns[0] + share * (columns[-1] - columns[0]) for share in MIDDLE)
        labels, count = ndimage.label(air[number])
        for piece in (np.asarray(labels == one) for one in range(1, count + 1)):
            is_central = left < np.flatnonzero(piece.any(axis=0)).mean() < right
            if is_central and _is_windpipe(piece, pixel_mm2) and np.median(small[number][piece]) < GAS:
                return number, piece
    return 0, np.zeros(air.shape[1:], np.bool_)


def _is_windpipe(piece: Mask, pixel_mm2: float) -> bool:
    """By its size, and nearly round."""
    rows, columns = (np.flatnonzero(piece.any(axis=axis)) for axis in (1, 0))
    high, wide, area = int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1, int(piece.sum())
    fits = WINDPIPE_MM2[0] <= area * pixel_mm2 <= WINDPIPE_MM2[1]
    return fits and area >= 0.6 * high * wide and max(high, wide) <= 2 * min(high, wide)


def _next(plane: Mask, last: Mask, pixel_mm2: float) -> Mask:
    """What of this slice goes on from the one before: pieces that touch it and are not much larger. Where its wall is
    too thin to be seen, the piece is eroded until it comes apart from the lung."""
    room = min(WINDPIPE_MM2[1] / pixel_mm2, WIDENING * int(last.sum()))
    for times in range(WALL + 1):
        core = ndimage.binary_erosion(plane, iterations=times) if times else plane
        labels, _ = ndimage.label(core)
        touched = [number for number in np.unique(labels[last]) if number]
        pieces = [labels == number for number in touched if int((labels == number).sum()) <= room]
        if pieces:
            found = np.logical_or.reduce(pieces)
            return np.asarray(ndimage.binary_dilation(found, iterations=times, mask=plane) if times else found)
    return np.zeros(plane.shape, np.bool_)


def _two_lungs(air: Mask, small: FloatImage, least: float, middle: float) -> U8:
    """The parts that are lung: right and left, or of either side where they cannot be told apart."""
    labels, count = ndimage.label(air)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    kept: list[int] = []
    for number in np.argsort(-sizes)[:4]:
        if len(kept) == 2 or sizes[number] < (SECOND_SHARE * sizes[kept[0]] if kept else least):
            break
        if not _is_gas(labels == number + 1, small):
            kept.append(int(number))
    if not kept:
        raise RefusedInput(NONE_FOUND)
    found = [np.asarray(labels == number + 1) for number in kept]
    if len(found) == 2:
        return _sided(found[0], found[1], middle)
    return _split(found[0], middle)


def _sided(one: Mask, other: Mask, middle: float) -> U8:
    """Right and left where they lie on both sides of the body's middle column, else lung of either side."""
    (row, column), (row_too, column_too) = _place(one), _place(other)
    told = (column - middle) * (column_too - middle) < 0 and abs(column - column_too) > abs(row - row_too)
    if not told:
        return np.asarray((one | other) * np.uint8(LungPart.EITHER), dtype=np.uint8)
    right, left = (one, other) if column < column_too else (other, one)
    return np.asarray(right * np.uint8(LungPart.RIGHT) + left * np.uint8(LungPart.LEFT), dtype=np.uint8)


def _place(mask: Mask) -> tuple[float, float]:
    """Mean row and column."""
    seen = mask.sum(axis=0)
    total = max(int(seen.sum()), 1)
    rows, columns = np.arange(mask.shape[1]), np.arange(mask.shape[2])
    return float(seen.sum(axis=1) @ rows) / total, float(seen.sum(axis=0) @ columns) / total


def _is_gas(part: Mask, small: FloatImage) -> bool:
    inside = ndimage.binary_erosion(part, np.ones((1, 3, 3), bool))
    values = small[inside if inside.any() else part]
    return bool((values < GAS).mean() > ALL_GAS)


def _split(whole: Mask, middle: float) -> U8:
    """One part that is both lungs, touching, told apart; of either side where that gives no two alike."""
    parts = np.asarray(whole * np.uint8(LungPart.EITHER), dtype=np.uint8)
    (box,) = ndimage.find_objects(whole.view(np.uint8))
    core = whole[box]
    for _ in range(DEEPEST):
        core = ndimage.binary_erosion(core, CROSS)
        labels, count = ndimage.label(core)
        if count < 2:
            continue
        sizes = np.bincount(labels.ravel())[1:]
        larger, smaller = np.argsort(-sizes)[:2] + 1
        if sizes[smaller - 1] >= TWIN_SHARE * sizes[larger - 1]:
            told = _sided(*_regrown(whole[box], labels == larger, labels == smaller), middle - box[2].start)
            if LungPart.EITHER not in told:
                parts[box] = told
                break
    return parts


def _regrown(whole: Mask, one: Mask, other: Mask) -> tuple[Mask, Mask]:
    """Both cores grown by turns until they fill the whole."""
    size = int(whole.sum())
    while int(one.sum()) + int(other.sum()) < size:
        one = ndimage.binary_dilation(one, CROSS, STRIDE, whole & ~other)
        other = ndimage.binary_dilation(other, CROSS, STRIDE, whole & ~one)
    return one, other


def _close(parts: U8, body: Mask, pixel: tuple[float, float]) -> None:
    """Fill the vessels and dense spots of each lung, slice by slice, without taking from the other."""
    reach = [max(1, round(CLOSED_MM / 2 / side)) for side in pixel]
    for number in LungPart:
        for plane, inside in zip(parts, body, strict=True):
            lung = plane == number
            if lung.any():
                filled = ndimage.binary_fill_holes(_closed(lung, reach[0], reach[1]))
                plane[filled & inside & (plane == 0)] = number


def _closed(lung: Mask, high: int, wide: int) -> Mask:
    """Closing by an ellipse of these half axes."""
    y, x = np.ogrid[-high : high + 1, -wide : wide + 1]
    disc = (y / high) ** 2 + (x / wide) ** 2 <= 1
    padded = np.pad(lung, ((high, high), (wide, wide)))
    return np.asarray(ndimage.binary_closing(padded, disc)[high:-high, wide:-wide])


def _refined(parts: U8, voxels: FloatImage, step: int) -> U8:
    """In the matrix of the source; along the border each pixel is judged by its own density."""
    if step == 1:
        return parts
    found = np.zeros(voxels.shape, np.uint8)
    rows, columns = voxels.shape[1:]
    for number, plane in enumerate(parts):
        if plane.any():
            core = np.where(ndimage.minimum_filter(plane, 3) > 0, plane, 0)
            rim = np.where(plane > 0, plane, ndimage.maximum_filter(plane, 3))
            sure, maybe = (_large(one, step)[:rows, :columns] for one in (core, rim))
            found[number] = np.where((sure > 0) | (voxels[number] < TISSUE), maybe, 0)
    return found


def _large(plane: U8, step: int) -> NDArray[np.uint8]:
    return np.repeat(np.repeat(plane, step, 0), step, 1)
