"""What training and inference must do alike: the exact picture each network is shown.

All functions take 8-bit films (row, column) made by ``intensity.to_u8`` and give arrays for one network input.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from skimage.filters import rank
from skimage.morphology import disk
from torch import Tensor

from models.api import ImageInput, LungField, Mask, RefusedInput
from models.images import geometry, intensity
from models.images.intensity import U8

MIDDLE_GREY = 128
SMALLEST_FIELD = 0.01  # of the film (paper 003)
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


@dataclass(frozen=True)
class Harmonised:
    """The lungs of one film. picture: (side, side); field: (side, side) bool; box: where they lie in the film."""

    picture: U8
    field: Mask
    box: geometry.Box


def harmonised(film: U8, lungs: Mask, side: int) -> Harmonised:
    """The lungs alone, in grey values that every hospital shares; an empty mask is a ValueError.

    A grey value becomes its rank among those inside the lung field, and everything outside the (slightly widened) field
    the middle grey: exposure, window, borders, burned-in text and the shape of the film, by which a network would
    recognise a hospital, are gone. What this is worth is measured in docs/why/harmonised-lungs.md.
    """
    box = geometry.lung_box(lungs)
    top, left, bottom, right = box
    crop = geometry.resize_u8(film[top:bottom, left:right], side, side, cubic=False)
    field = geometry.resize_u8(lungs[top:bottom, left:right].astype(np.uint8) * 255, side, side, cubic=False) > 127
    wide = ndimage.binary_dilation(field, np.ones((3, 3), bool), iterations=max(1, side // 48))
    return Harmonised(np.where(wide, ranked(crop, field), np.uint8(MIDDLE_GREY)), wide, box)


def ranked(picture: U8, field: Mask) -> U8:
    """Each grey value as the share of the field that is darker, 0..255."""
    counts = np.bincount(picture[field], minlength=256)
    table = np.rint(255.0 * (np.cumsum(counts) - counts) / max(1, counts.sum())).astype(np.uint8)
    return np.asarray(table[picture])


def lungs_of(image: ImageInput, lungs: LungField | None, side: int, name: str) -> Harmonised:
    """What a classifier of the lungs sees of a film; RefusedInput for a bad film or without a lung field."""
    film = film_u8(image)
    check_lungs(film, lungs, name)
    assert lungs is not None
    try:
        seen = harmonised(film, lungs.mask, side)
    except ValueError:
        seen = None
    if seen is None or not seen.field.any():
        raise RefusedInput("The lung field is too thin to judge.")
    return seen


def check_lungs(film: U8, lungs: LungField | None, name: str) -> None:
    """RefusedInput where there is next to no lung field, or nothing to see in it."""
    if lungs is None or lungs.share < SMALLEST_FIELD:
        raise RefusedInput(f"{name} judges the lungs alone, and no lung field was found.")
    counts = np.bincount(film[lungs.mask], minlength=256)
    if counts.max() > 0.5 * counts.sum():
        raise RefusedInput("Most of the lung field has one and the same grey value; there is nothing to judge.")


def cxnet_input(lungs: Harmonised) -> U8:
    """(side, side, 3): BEASF gamma 1.5, CLAHE clip 2.0 grid 8 x 8, original, in the order of the final model."""
    grey = lungs.picture
    channels = np.stack((intensity.beasf(grey), intensity.clahe(grey), grey), axis=-1)
    return np.where(lungs.field[..., None], channels, np.uint8(MIDDLE_GREY))


def cnncf_input(lungs: Harmonised) -> U8:
    """(side, side, 3) in pseudo-colour (paper 000)."""
    return intensity.jet(lungs.picture)


def grey_batch(pictures: U8) -> Tensor:
    """(n, side, side) 8 bit -> (n, 3, side, side) in 0..1, grey on all three channels, channels last."""
    x = torch.from_numpy(pictures).float()[:, None] / 255
    return x.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)


def as_tensor_array(picture: U8) -> NDArray[np.float32]:
    """(row, column[, 3]) 8 bit -> (channel, row, column) float32 in 0..1."""
    channels = picture[None] if picture.ndim == 2 else picture.transpose(2, 0, 1)
    return np.ascontiguousarray(channels, dtype=np.float32) / np.float32(255)
