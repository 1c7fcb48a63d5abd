"""One image of a stored object as a person sees it, 8 bits: for browsers and thumbnails, not for models.

Stored values -> Modality LUT -> VOI LUT, its window or the one that is asked for -> sense of the presentation
(PS3.4 N.2). Display advice that is damaged counts as absent. A picture is (row, column) or (row, column, 3).
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi_lut

from node.core.errors import NotAccepted, Refused
from node.pipeline import film, frames
from node.pipeline.pixel_bytes import decoded, layout
from node.results.references import aspect_ratio

Picture = NDArray[np.uint8]
LARGEST_PIXELS = 256 << 20  # of one frame


@dataclass(frozen=True)
class Window:
    """function: LINEAR, LINEAR_EXACT or SIGMOID, PS3.3 C.11.2.1.2 and C.11.2.1.3."""

    centre: float
    width: float
    function: str = "LINEAR"


@dataclass(frozen=True)
class Shown:
    """ratio: height of a pixel by its width."""

    picture: Picture
    ratio: float


@dataclass(frozen=True)
class Levels:
    """What a window is laid over: (row, column) values after the Modality LUT, and after the VOI LUT where there is
    one. inside: not padding; window: the usual one; dark_is_high: of the presentation, after the window."""

    values: NDArray[np.float64]
    inside: NDArray[np.bool_]
    window: Window
    dark_is_high: bool
    ratio: float


def header(path: Path) -> Dataset:
    """Without pixels."""
    return dcmread(path, stop_before_pixels=True)


def frame_count(path: Path) -> int:
    """NotAccepted where the object is no image."""
    return layout(path).frames


def frame(path: Path, index: int, window: Window | None = None) -> Shown:
    """index: from 0. Raises Refused."""
    found, values = _decoded(path, index)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's remarks quote values
        picture = _grey(found, values, window) if values.ndim == 2 else _eight_bits(values[..., :3])
    return Shown(picture, _ratio(found))


def levels(path: Path, index: int) -> Levels:
    """index: from 0. Colour is given as its luminance, 0 to 255. Raises Refused."""
    found, stored = _decoded(path, index)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if stored.ndim == 2 and found.get("PhotometricInterpretation") != "PALETTE COLOR":
            return _levels(found, stored)
        colour = stored if stored.ndim == 3 else np.asarray(apply_color_lut(stored, found))
    grey = _eight_bits(colour[..., :3]) @ np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
    return Levels(grey, np.ones(grey.shape, bool), Window(127.5, 255, "LINEAR_EXACT"), False, _ratio(found))


def _levels(ds: Dataset, stored: NDArray[Any]) -> Levels:
    values, inside = _values(ds, stored)
    window = None if "VOILUTSequence" in ds else _window_of(ds)
    if "VOILUTSequence" in ds:
        values = np.asarray(_tried(apply_voi_lut, np.rint(values).astype(np.int32), ds, 0), np.float64)
    if window is None:
        low, high = float(values[inside].min()), float(values[inside].max())
        window = Window((low + high) / 2, max(high - low, 1e-9), "LINEAR_EXACT")
    return Levels(values, inside, window, film.dark_is_high(ds), _ratio(ds))


def _decoded(path: Path, index: int) -> tuple[Dataset, NDArray[Any]]:
    of = layout(path)
    if of.bits and of.bits // 8 > LARGEST_PIXELS:
        raise NotAccepted("The image has more pixels than this node renders.")
    return _header_of(path, index), decoded(path, index)


def _header_of(path: Path, index: int) -> Dataset:
    """Of a multi-frame CT that of the frame."""
    whole = header(path)
    if not frames.is_multi_frame(whole):
        return whole
    try:
        return frames.slices_of(whole)[index]
    except (Refused, IndexError):
        return whole


def _grey(ds: Dataset, stored: NDArray[Any], window: Window | None) -> Picture:
    if ds.get("PhotometricInterpretation") == "PALETTE COLOR":
        return _eight_bits(np.asarray(apply_color_lut(stored, ds)))
    values, inside = _values(ds, stored)
    level = _windowed(values, window) if window else _usual(ds, values, inside)
    if film.dark_is_high(ds):
        level = 1 - level
    return np.asarray(np.rint(255 * np.where(inside, level, 0.0)), np.uint8)


def _values(ds: Dataset, stored: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """After the Modality LUT, and what is not padding."""
    padding = film.find_padding(ds, stored)
    inside = ~padding if padding is not None else np.ones(stored.shape, bool)
    values = np.asarray(_tried(apply_modality_lut, stored, ds), np.float64)
    return np.nan_to_num(values, posinf=0.0, neginf=0.0), inside


def _usual(ds: Dataset, values: NDArray[np.float64], inside: NDArray[np.bool_]) -> NDArray[np.float64]:
    """0 to 1 by the VOI LUT or the first window of the header, else from the least to the greatest value."""
    if "VOILUTSequence" in ds:
        seen = _tried(apply_voi_lut, np.rint(values).astype(np.int32), ds, 0)
        return _stretched(np.asarray(seen, np.float64), inside)
    own = _window_of(ds)
    return _windowed(values, own) if own else _stretched(values, inside)


def _window_of(ds: Dataset) -> Window | None:
    try:
        centre, width = (ds[keyword].value for keyword in ("WindowCenter", "WindowWidth"))
        first = [float(value if isinstance(value, (int, float)) else value[0]) for value in (centre, width)]
        function = str(ds.get("VOILUTFunction") or "LINEAR").strip().upper()
    except Exception:  # noqa: BLE001 - display advice that is damaged counts as absent
        return None
    usable = all(map(math.isfinite, first)) and first[1] >= (1 if function == "LINEAR" else 1e-9)
    return Window(first[0], first[1], function) if usable else None


def _windowed(values: NDArray[np.float64], window: Window) -> NDArray[np.float64]:
    """0 to 1. The formulas of PS3.3 C.11.2.1.2.1, C.11.2.1.3.1 and C.11.2.1.3.2."""
    if window.function == "SIGMOID":
        return np.asarray(1 / (1 + np.exp(np.clip(-4 * (values - window.centre) / window.width, -700, 700))))
    if window.function == "LINEAR_EXACT":
        return np.asarray(np.clip((values - window.centre) / window.width + 0.5, 0, 1))
    if window.width <= 1:
        return np.asarray(values > window.centre - 0.5, np.float64)
    return np.asarray(np.clip((values - (window.centre - 0.5)) / (window.width - 1) + 0.5, 0, 1))


def _stretched(values: NDArray[np.float64], inside: NDArray[np.bool_]) -> NDArray[np.float64]:
    low, high = float(values[inside].min()), float(values[inside].max())
    return np.asarray(np.clip((values - low) / (high - low), 0, 1)) if high > low else np.zeros_like(values)


def _eight_bits(colour: NDArray[Any]) -> Picture:
    if colour.dtype == np.uint8:
        return colour
    top = float(np.iinfo(colour.dtype).max) if colour.dtype.kind in "iu" else float(colour.max() or 1)
    return np.asarray(np.clip(np.rint(255 * (colour.astype(np.float64) / top)), 0, 255), np.uint8)


def _tried(operation: Any, values: NDArray[Any], *rest: Any) -> NDArray[Any]:
    try:
        return np.asarray(operation(values, *rest))
    except Exception:  # noqa: BLE001 - as above
        return values


def _ratio(ds: Dataset) -> float:
    height, width = aspect_ratio(ds) or (1, 1)
    return height / width
