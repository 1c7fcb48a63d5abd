"""One image for a person who moves its window: 16-bit values for a canvas, and a marked picture for everybody else.

A canvas gets values, not grey: what is beyond a window comes back when it is moved. Pixels are square there; where
those of the source are not, rows are stretched. ``Canvas.across`` and ``down`` lead from the source's pixels to it.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from node.pipeline import shown
from node.pipeline.shown import Window
from node.results.render import STRONGEST, jet

LONGEST_SIDE = 1600  # of a canvas: a film on a usual screen, and 4 MB to fetch
PADDING = 65535  # the value of what is no image
QUALITY = 88


@dataclass(frozen=True)
class Canvas:
    """content: little-endian uint16, row after row; value = slope * content + intercept."""

    width: int
    height: int
    slope: float
    intercept: float
    window: Window
    dark_is_high: bool
    across: float
    down: float
    content: bytes


def values(path: Path, index: int) -> Canvas:
    """index: of the frame, from 0. Raises Refused."""
    of = shown.levels(path, index)
    rows, columns = of.values.shape
    scale = min(1.0, LONGEST_SIDE / max(columns, rows * of.ratio))
    width, height = max(1, round(columns * scale)), max(1, round(rows * of.ratio * scale))
    low, high = float(of.values[of.inside].min()), float(of.values[of.inside].max())
    slope = max(high - low, 1e-9) / (PADDING - 1)
    if float(low).is_integer() and float(high).is_integer() and high - low < PADDING:
        slope = 1.0  # whole numbers stay what they are
    small = _resized(np.clip(of.values, low, high), (width, height))
    coded = np.clip(np.rint((small - low) / slope), 0, PADDING - 1).astype("<u2")
    if not of.inside.all():
        coded[_resized(of.inside.astype(np.float64), (width, height)) < 0.5] = PADDING
    return Canvas(
        width, height, slope, low, of.window, of.dark_is_high, width / columns, height / rows, coded.tobytes()
    )


def _resized(plane: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.float32]:
    picture = Image.fromarray(plane.astype(np.float32))
    return np.asarray(picture if picture.size == size else picture.resize(size, Image.Resampling.BOX))


def picture(path: Path, index: int, longest: int, heat: bytes = b"") -> bytes:
    """JPEG in the usual window, at most ``longest`` pixels a side. heat: a layer to lay over it (``layers``)."""
    found = shown.frame(path, index)
    grey = Image.fromarray(found.picture)
    height = grey.height * found.ratio
    scale = min(1.0, longest / max(grey.width, height))
    size = max(1, round(grey.width * scale)), max(1, round(height * scale))
    small = grey.resize(size, Image.Resampling.LANCZOS)
    made = io.BytesIO()
    (_heated(small, heat) if heat else small).save(made, "JPEG", quality=QUALITY)
    return made.getvalue()


def _heated(grey: Image.Image, heat: bytes) -> Image.Image:
    with Image.open(io.BytesIO(heat)) as layer:
        wide = layer.convert("L").resize(grey.size, Image.Resampling.BICUBIC)
    warm = np.asarray(np.asarray(wide, np.float32) / 255, np.float32)
    opacity = (STRONGEST * warm)[..., None]
    below = np.asarray(grey.convert("RGB"), np.float32)
    mixed = below * (1 - opacity) + jet(warm) * opacity
    return Image.fromarray(np.rint(mixed).astype(np.uint8))
