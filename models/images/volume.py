"""CT slices and volumes on their way into a network: windows, slices along z, body crop, which slices bear lung.

Hounsfield units come in, (row, column) or (slice, row, column), slices from feet to head; ``u8`` goes out. Boxes are
those of ``models.images.geometry``. Formulas: models specification 3.1 and 4.1; numeric checks N1 to N3, N35, N36.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.filters import threshold_otsu

from models.api import FloatImage, Mask, RefusedInput, VolumeInput
from models.images.geometry import Box, largest_parts, resize_float
from models.images.intensity import U8

Numbers = NDArray[np.int64]

CENTRE, SLICE_WIDTH, STUDY_WIDTH = -600.0, 1500.0, 2000.0  # of papers 001 and 000
DEPTH = 300  # slices that paper 000's system reads: three groups of 100
FEWEST_SLICES, SMALLEST_SIDE = 3, 64
BODY_ABOVE, LUNG_FROM, LUNG_BELOW = -500.0, -950.0, -500.0  # HU; below -950 lies mostly free air: airways, bowel gas
LEAST_LUNG = 0.05  # share of the body
LEAST_SMOOTHNESS = 0.6  # correlation of neighbours in a slice: real ones have above 0.9, noise about 0
SEARCH_SIDE = 256  # the body is looked for on every n-th pixel: a share needs no more


def window_u8(hu: NDArray[np.generic]) -> U8:
    """Centre -600, width 1500, 8 bit, truncated (paper 001).

    Multiplied before it is divided, so that grey levels which are whole numbers are not lost to the truncation.
    """
    low = CENTRE - SLICE_WIDTH / 2
    return np.asarray(np.clip(hu.astype(np.float64) - low, 0, SLICE_WIDTH) * 255 / SLICE_WIDTH).astype(np.uint8)


def window_float(hu: NDArray[np.generic]) -> NDArray[np.float32]:
    """Centre -600, width 2000, to 0..255 (paper 000)."""
    low = CENTRE - STUDY_WIDTH / 2
    inside = np.clip(hu.astype(np.float32) - np.float32(low), 0, STUDY_WIDTH)
    return np.asarray(inside * np.float32(255 / STUDY_WIDTH), dtype=np.float32)


def resample_slices(volume: NDArray[np.float32], depth: int = DEPTH) -> NDArray[np.float32]:
    """(Z, row, column) -> (depth, row, column), linear along z at linspace(0, Z - 1, depth), up or down."""
    position = np.linspace(0, len(volume) - 1, depth)
    below = np.floor(position).astype(int)
    above = np.minimum(below + 1, len(volume) - 1)
    share = (position - below).astype(np.float32)[:, None, None]
    return np.asarray(volume[below] * (1 - share) + volume[above] * share, dtype=np.float32)


def study_u8(voxels: FloatImage, side: int) -> U8:
    """(300, side, side): a whole study as paper 000's system sees it; stored and read in 8 bits, in training too."""
    plane = np.stack([resize_float(np.ascontiguousarray(one), side, side) for one in voxels])
    return np.asarray(np.rint(window_float(resample_slices(plane))), dtype=np.uint8)


def body_box(picture: U8) -> Box:
    """The box of the body in a windowed slice, table left out; the whole slice where nothing stands out.

    5 x 5 Gaussian, Otsu's threshold over the pixels above 0, 7 x 7 erosion, largest connected part.
    """
    smooth = ndimage.gaussian_filter(picture.astype(np.float32), 1.1, radius=2)  # the sigma that OpenCV gives 5 x 5
    seen = np.rint(smooth).astype(np.uint8)
    whole = (0, 0, *picture.shape)
    if not (seen > 0).any():
        return whole
    bright = (seen > threshold_otsu(seen[seen > 0])).astype(np.uint8)
    labels, count = ndimage.label(ndimage.minimum_filter(bright, 7, mode="nearest"))
    if not count:
        return whole
    largest = int(np.bincount(labels.ravel())[1:].argmax())
    rows, columns = ndimage.find_objects(labels)[largest]
    return int(rows.start), int(columns.start), int(rows.stop), int(columns.stop)


def lung_share(hu: FloatImage) -> float:
    """Share of the body, in one slice (row, column), that has the density of aerated lung.

    Body: the largest connected part above -500 HU with its holes filled. Lung: -950 to -500 HU inside it. Lung that
    is solid all through has no share, nor has lung cut open by the edge of the picture.
    """
    step = max(1, min(hu.shape) // SEARCH_SIDE)
    small = hu[::step, ::step]
    body = largest_parts(np.asarray(small > BODY_ABOVE), 1)
    area = int(body.sum())
    lung = body & (small >= LUNG_FROM) & (small < LUNG_BELOW)
    return int(lung.sum()) / area if area else 0.0


def lung_mask(hu: FloatImage) -> Mask:
    """(row, column): aerated lung of one slice with the gaps that vessels and small solid lesions leave closed."""
    body = largest_parts(np.asarray(hu > BODY_ABOVE), 1)
    air = body & (hu >= LUNG_FROM) & (hu < LUNG_BELOW)
    step = max(1, min(hu.shape) // SEARCH_SIDE)
    closed = ndimage.binary_closing(air[::step, ::step], np.ones((3, 3), bool), iterations=3)
    whole = np.repeat(np.repeat(ndimage.binary_fill_holes(closed), step, 0), step, 1)
    return np.asarray((whole[: hu.shape[0], : hu.shape[1]] | air) & body)


def lung_slices(volume: VolumeInput) -> Numbers:
    """Numbers of the slices that bear lung (at least 5 % of the body), ascending. RefusedInput when there is none.

    Also refused: fewer than 3 slices, a matrix below 64 x 64, values that are not finite.
    """
    count, rows, columns = volume.voxels.shape
    if count < FEWEST_SLICES:
        raise RefusedInput(f"The series has {count} slices; at least {FEWEST_SLICES} are needed.")
    if min(rows, columns) < SMALLEST_SIDE:
        raise RefusedInput(
            f"The slices are {columns} x {rows} pixels; at least {SMALLEST_SIDE} on each side are needed."
        )
    if not np.isfinite(volume.voxels).all():
        raise RefusedInput("The series holds values that are not finite numbers.")
    middle = volume.voxels[count // 2]
    if middle.std() > 0 and np.corrcoef(middle[:, 1:].ravel(), middle[:, :-1].ravel())[0, 1] < LEAST_SMOOTHNESS:
        raise RefusedInput("The slices are noise rather than a CT.")
    found = np.flatnonzero([lung_share(one) >= LEAST_LUNG for one in volume.voxels])
    if not found.size:
        raise RefusedInput("No slice of the series shows lung; there is nothing to judge.")
    return found.astype(np.int64)


@dataclass(frozen=True)
class CovidxLine:
    """One slice of a COVIDx CT split file: its name, class and body box."""

    file: str
    label: str
    box: Box


COVIDX_CLASSES = ("Normal", "CP", "NCP")


def covidx_line(line: str) -> CovidxLine:
    """``file class xmin ymin xmax ymax``, the maxima exclusive; anything else is a ValueError."""
    name, *rest = line.split()
    if len(rest) != 5:
        raise ValueError(f"a COVIDx CT line has six columns, this one {len(rest) + 1}")
    label, left, top, right, bottom = (int(value) for value in rest)
    if not 0 <= label < len(COVIDX_CLASSES) or not (0 <= left < right and 0 <= top < bottom):
        raise ValueError(f"no class or no box: {' '.join(rest)}")
    return CovidxLine(name, COVIDX_CLASSES[label], (top, left, bottom, right))
