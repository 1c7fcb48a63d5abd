"""One projection radiograph from a stored file to ``models.api.ImageInput``: display values, higher is brighter.

Order (PS3.4 N.2): stored values -> Modality LUT (PS3.3 C.11.1) -> VOI LUT (C.11.2) -> Presentation LUT sense. Pixel
padding (C.7.5.1.1.2) is found on stored values, masked, and filled with the minimum of the rest. Non-square pixels stay
as they are: coordinates are those of the source matrix, and every system resizes to its own square. Every failure is a
``Refused`` with one sentence that names no person, but for those of the disk, which are ``Transient``.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi_lut, convert_color_space
from pydicom.pixels.utils import pixel_array

from models.api import ImageInput, Mask
from node.core.errors import BadDataSet, NotAccepted
from node.core.study import StoredInstance
from node.pipeline.blame import blamed
from node.pipeline.codestream import check_sizes
from node.pipeline.header import text_of

SMALLEST_SIDE = 64
LARGEST_PIXELS = 256 * 2**20 // 2  # pixels of a decoded film: 256 MiB at two bytes
LARGEST_SIDE = 65535  # Rows and Columns are US
MOST_LEVELS = 2**16  # of grey, as 16 bits hold
PIXEL_KEYWORDS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
Values = NDArray[Any]


def load_film(path: Path) -> tuple[Dataset, ImageInput]:
    """(the header as received, without pixel data; the image). Raises Refused."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ds = _read(path)
        _check_geometry(ds)
        stored = _decode(ds)
        padding = find_padding(ds, stored)
        pixels = _display_values(ds, stored, padding)
    return read_header(path), ImageInput(pixels, str(ds.SOPInstanceUID), _spacing(ds), padding)


def read_header(path: Path) -> Dataset:
    """The header alone, as received; BadDataSet when it cannot be read."""
    try:
        return dcmread(path, stop_before_pixels=True, force=True)
    except Exception as error:
        raise blamed(error) from error


def header_of(instance: StoredInstance) -> Dataset:
    """The same of a file that must still be this instance. pydicom makes something of any bytes, and what it leaves out
    of a file that was cut stands behind these UIDs, unlike the patient."""
    header = read_header(instance.path)
    uids = (instance.sop_instance_uid, instance.study_instance_uid, instance.series_instance_uid)
    if uids != tuple(text_of(header, f"{level}InstanceUID") for level in ("SOP", "Study", "Series")):
        raise BadDataSet("The stored file is damaged: it is not the object that was received.")
    return header


def decode_pixels(path: Path) -> Values:
    """Stored values of any image, decoded: (row, column), or (row, column, sample), or with frames first."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _decode(_read(path))


def _read(path: Path) -> Dataset:
    try:
        return dcmread(path, force=True)
    except Exception as error:
        raise blamed(error) from error


def _check_geometry(ds: Dataset) -> None:
    """What would make decoding absurd, from the header alone."""
    rows, columns = _whole_number(ds, "Rows"), _whole_number(ds, "Columns")
    if not rows or not columns:
        raise NotAccepted("The object has no Rows and Columns: it is not an image.")
    if not any(keyword in ds for keyword in PIXEL_KEYWORDS) or ds.get("PixelData", b"-") in (b"", None):
        raise BadDataSet("The image has no pixel data.")
    if (frames := _whole_number(ds, "NumberOfFrames") or 1) != 1:
        raise NotAccepted(f"The image has {frames} frames; a film has one.")
    if min(rows, columns) < SMALLEST_SIDE:
        raise NotAccepted(
            f"The image is {columns} x {rows} pixels; a film needs at least {SMALLEST_SIDE} on each side."
        )
    if rows * columns > LARGEST_PIXELS:
        raise NotAccepted(f"The image is {columns} x {rows} pixels, more than this node decodes.")
    if (_whole_number(ds, "BitsAllocated") or 8) == 1:
        raise NotAccepted("The image has one bit a pixel: it is a mask, not a film.")
    _check_length(ds, rows, columns)


def _check_length(ds: Dataset, rows: int, columns: int) -> None:
    if ds.file_meta.TransferSyntaxUID.is_encapsulated or "PixelData" not in ds:
        return
    needed = (
        rows * columns * (_whole_number(ds, "SamplesPerPixel") or 1) * ((_whole_number(ds, "BitsAllocated") or 8) // 8)
    )
    if "422" in str(ds.get("PhotometricInterpretation", "")):
        needed = needed * 2 // 3
    if len(ds.PixelData) < needed:
        raise BadDataSet(f"The pixel data has {len(ds.PixelData)} bytes; {columns} x {rows} pixels need {needed}.")


def _whole_number(ds: Dataset, keyword: str) -> int | None:
    try:
        return int(ds.get(keyword))
    except (TypeError, ValueError):
        return None


def _decode(ds: Dataset) -> Values:
    try:
        if ds.file_meta.TransferSyntaxUID.is_encapsulated:
            check_sizes(ds, ds.PixelData)
        values: Values = pixel_array(ds, raw=True)
    except BadDataSet:
        raise
    except Exception as error:
        syntax = getattr(ds.file_meta.get("TransferSyntaxUID"), "name", "unknown")
        raise BadDataSet(f"The pixel data cannot be decoded (transfer syntax {syntax}).") from error
    return values


def find_padding(ds: Dataset, stored: Values) -> Mask | None:
    """True where stored values say that there is no image."""
    if stored.ndim != 2 or "PixelPaddingValue" not in ds:
        return None
    low = _whole_number(ds, "PixelPaddingValue")
    if low is None:
        return None
    high = _whole_number(ds, "PixelPaddingRangeLimit")
    low, high = sorted((low, low if high is None else high))
    mask = np.asarray((stored >= low) & (stored <= high))
    return mask if mask.any() and not mask.all() else None


def _display_values(ds: Dataset, stored: Values, padding: Mask | None) -> NDArray[np.float32]:
    grey = stored if stored.ndim == 2 else _luminance(ds, stored)
    if stored.ndim == 2 and ds.get("PhotometricInterpretation") == "PALETTE COLOR":
        grey = _luminance(ds, _safely(lambda: apply_color_lut(stored, ds)))
    inside: Any = ~padding if padding is not None else ...  # all of them, without a copy
    if grey.dtype.kind in "iu":
        first = int(grey.min())
        count = int(grey.max()) - first + 1
        if count <= MOST_LEVELS:
            return _by_level(ds, grey, range(first, first + count), inside)
    values = _shown(ds, grey, inside)
    return np.asarray(values if padding is None else np.where(padding, values[inside].min(), values), dtype=np.float32)


def _by_level(ds: Dataset, stored: Values, levels: range, inside: Any) -> NDArray[np.float32]:
    """What is shown of each level of grey that the image has, looked up for its pixels, of which there are millions.
    What is no image gets the least of it."""
    places = stored.astype(np.intp)
    places -= levels.start
    is_there = np.bincount(places[inside].ravel(), minlength=len(levels)) > 0
    values = _shown(ds, np.arange(levels.start, levels.stop)[is_there].astype(stored.dtype), ...)
    shown = np.full(len(levels), values.min(), np.float32)
    shown[is_there] = values
    return np.take(shown, places)


def _shown(ds: Dataset, grey: Values, inside: Any) -> NDArray[np.float64]:
    """grey: stored values, of any shape. inside: the index of those that are image."""
    values = _safely(lambda: apply_modality_lut(grey, ds)).astype(np.float64, copy=False)
    if not np.isfinite(values[inside]).all():
        raise BadDataSet("The rescale slope or intercept of the image is not a finite number.")
    values = _windowed(ds, values, inside)
    if dark_is_high(ds):
        values = values[inside].max() + values[inside].min() - values
    low, high = float(values[inside].min()), float(values[inside].max())
    if not np.isfinite([low, high]).all():
        raise BadDataSet("The window of the image is not a finite number.")
    if high <= low:
        raise NotAccepted("Every pixel of the image has the same value.")
    return values


def _safely(operation: Any) -> Values:
    try:
        return np.asarray(operation())
    except Exception as error:
        raise BadDataSet("A look-up table or rescale value of the image is damaged.") from error


def _windowed(ds: Dataset, values: NDArray[np.float64], inside: Any) -> NDArray[np.float64]:
    """VOI LUT or the first window. A window that leaves nothing to see is ignored, and so is a damaged one. inside:
    the index of pixels that are image."""
    if "VOILUTSequence" not in ds and "WindowCenter" not in ds:
        return values
    source = values
    if "VOILUTSequence" in ds:  # a LUT is indexed by whole numbers
        source = np.rint(values).astype(np.int64).astype(np.float64)
    try:
        seen = np.asarray(apply_voi_lut(source if "VOILUTSequence" not in ds else source.astype(np.int32), ds, index=0))
    except Exception:  # noqa: BLE001 - display advice, not image data
        return values
    seen = seen.astype(np.float64, copy=False)
    usable = np.isfinite(seen).all() and seen[inside].max() > seen[inside].min()
    return seen if usable else values


def dark_is_high(ds: Dataset) -> bool:
    """Whether a high value means black: MONOCHROME1, or a Presentation LUT Shape that turns it (PS3.3 C.11.6)."""
    turned = ds.get("PhotometricInterpretation") == "MONOCHROME1"
    shape = str(ds.get("PresentationLUTShape", "") or "")
    return turned if shape in ("", "IDENTITY") or turned else shape == "INVERSE"


def _luminance(ds: Dataset, colour: Values) -> NDArray[np.float64]:
    """ITU-R BT.601 luminance of RGB or YBR pixels (row, column, 3)."""
    if colour.ndim != 3 or colour.shape[2] < 3:
        raise NotAccepted("The image is neither grey nor colour with three samples.")
    space = str(ds.get("PhotometricInterpretation", "RGB"))
    if space.startswith("YBR_FULL"):
        colour = _safely(lambda: convert_color_space(colour, space, "RGB"))
    return np.asarray(colour[..., :3].astype(np.float64) @ np.array([0.299, 0.587, 0.114]))


def _spacing(ds: Dataset) -> tuple[float, float] | None:
    """(between rows, between columns) in mm: Pixel Spacing where there is one (PS3.3 10.7.1.3), else that of the
    detector."""
    for keyword in ("PixelSpacing", "ImagerPixelSpacing"):
        try:
            rows, columns = (float(value) for value in ds.get(keyword))
        except (TypeError, ValueError):
            continue
        if 0 < rows < 100 and 0 < columns < 100:
            return rows, columns
    return None
