"""Resizing, cropping, boxes. Images are (row, column[, channel]); boxes (top, left, bottom, right), end exclusive."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from models.api import Mask
from models.images.intensity import U8

Box = tuple[int, int, int, int]


def resize_u8(image: U8, rows: int, columns: int, cubic: bool = True) -> U8:
    """Antialiased resize of an 8-bit image, bicubic or bilinear."""
    how = Image.Resampling.BICUBIC if cubic else Image.Resampling.BILINEAR
    return np.array(Image.fromarray(image).resize((columns, rows), how))


def resize_float(image: NDArray[np.float32], rows: int, columns: int) -> NDArray[np.float32]:
    """Bilinear resize of a float map."""
    return np.array(Image.fromarray(image, mode="F").resize((columns, rows), Image.Resampling.BILINEAR))


def dilate(mask: Mask, times: int = 3) -> Mask:
    """5x5 dilation, ``times`` iterations (paper 004)."""
    return np.asarray(ndimage.binary_dilation(mask, np.ones((5, 5), bool), iterations=times))


def bounding_box(mask: Mask) -> Box:
    """The smallest box around the mask; an empty mask is a ValueError."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        raise ValueError("the mask is empty")
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def lung_box(mask: Mask, frame: int = 320) -> Box:
    """The lung region of paper 004 in the mask's own matrix: mask in a ``frame`` x ``frame`` picture, dilated 5x5
    three times, bounding box, scaled back. An empty mask is a ValueError."""
    rows, columns = mask.shape
    small = resize_u8(np.asarray(mask, dtype=np.uint8) * 255, frame, frame, cubic=False) > 127
    top, left, bottom, right = bounding_box(dilate(small))
    return (
        int(np.floor(top * rows / frame)),
        int(np.floor(left * columns / frame)),
        int(np.ceil(bottom * rows / frame)),
        int(np.ceil(right * columns / frame)),
    )


def largest_parts(mask: Mask, parts: int) -> Mask:
    """The ``parts`` largest connected components with their holes filled."""
    labels, count = ndimage.label(mask)
    if not count:
        return mask
    sizes = np.bincount(labels.ravel())[1:]
    kept = np.isin(labels, np.argsort(-sizes)[:parts] + 1)
    return np.asarray(ndimage.binary_fill_holes(kept))


def in_film(heat: NDArray[np.float32], box: Box, shape: tuple[int, int]) -> NDArray[np.float32]:
    """A map of a crop placed into the film (rows, columns) it was cut from, in 0..1; outside the crop it is 0."""
    top, left, bottom, right = box
    film = np.zeros(shape, np.float32)
    film[top:bottom, left:right] = np.clip(resize_float(heat, bottom - top, right - left), 0, 1)
    return film
