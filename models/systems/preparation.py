"""What training and inference must do alike: the exact picture each network is shown.

All functions take 8-bit films (row, column) made by ``intensity.to_u8`` and give arrays for one network input.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from skimage.filters import rank
from skimage.morphology import disk

from models.api import ImageInput, Mask, RefusedInput
from models.images import geometry, intensity
from models.images.intensity import U8

RANK_RADIUS, RANK_SIDE = 40, 320  # paper 004: local equalisation with radius 40 in a 320 x 320 film


def film_u8(image: ImageInput, smallest: int = 64) -> U8:
    """8-bit film by minimum and maximum; refuses what no film system can judge."""
    rows, columns = image.shape
    if min(rows, columns) < smallest:
        raise RefusedInput(f"The film is {columns} x {rows} pixels; at least {smallest} on each side are needed.")
    if not np.isfinite(image.pixels).all():
        raise RefusedInput("The film holds values that are not finite numbers.")
    film = intensity.to_u8(image.pixels)
    low, high = np.percentile(film, (1, 99))
    if high - low < 8:
        raise RefusedInput("The film is nearly constant; there is nothing to judge.")
    return film


def lung_input(film: U8, side: int) -> U8:
    """(side, side): locally rank-equalised film, the radius scaled from 40 at 320."""
    small = geometry.resize_u8(film, side, side)
    return np.asarray(rank.equalize(small, disk(round(RANK_RADIUS * side / RANK_SIDE))), dtype=np.uint8)


def cxnet_input(film: U8, lungs: Mask, side: int) -> tuple[U8, geometry.Box]:
    """(side, side, 3) BEASF, CLAHE and original of the lung region, and its box in the film. Empty mask: ValueError."""
    box = geometry.lung_box(lungs)
    top, left, bottom, right = box
    crop = geometry.resize_u8(intensity.to_u8(film[top:bottom, left:right]), side, side)
    return enhance(crop), box


def enhance(crop: U8) -> U8:
    """(row, column, 3): BEASF gamma 1.5, CLAHE clip 2.0 grid 8 x 8, original, in the order of the final model."""
    return np.stack((intensity.beasf(crop), intensity.clahe(crop), crop), axis=-1)


def cnncf_input(film: U8, side: int) -> U8:
    """(side, side, 3) pseudo-colour of the whole film (paper 000)."""
    return intensity.jet(geometry.resize_u8(film, side, side, cubic=False))


def as_tensor_array(picture: U8) -> NDArray[np.float32]:
    """(row, column[, 3]) 8 bit -> (channel, row, column) float32 in 0..1."""
    channels = picture[None] if picture.ndim == 2 else picture.transpose(2, 0, 1)
    return np.ascontiguousarray(channels, dtype=np.float32) / np.float32(255)
