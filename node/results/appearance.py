"""How a source image is shown, in the words of a presentation state: Modality LUT, VOI LUT, sense, shape of its pixels.

Read from the header as received; what is damaged counts as absent. It follows the loaders (``pipeline.film``,
``pipeline.volume``): a VOI LUT before a window, the first of several, MONOCHROME1 as black at the top. Numbers too long
for their VR are met in the field and count. Nothing is made up but a window for an image that has none.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.multival import MultiValue
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage
from pydicom.valuerep import format_number_as_ds

from node.results import common
from node.results.references import aspect_ratio

GREY = ("MONOCHROME1", "MONOCHROME2")
CT = (CTImageStorage, EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage)
FUNCTIONS = {"": 1.0, "LINEAR": 1.0, "LINEAR_EXACT": 0.0, "SIGMOID": 0.0}  # least width, PS3.3 C.11.2.1.2, C.11.2.1.3


def is_grey(header: Dataset) -> bool:
    """Only such images may a Grayscale Softcopy Presentation State refer to (PS3.3 A.33.1)."""
    return _text(header, "PhotometricInterpretation") in GREY


def modality_lut(header: Dataset) -> Dataset:
    """Elements of the Modality LUT Module (PS3.3 C.11.1); none where stored values mean themselves."""
    found = Dataset()
    if luts := _luts(header, "ModalityLUTSequence"):
        luts[0].ModalityLUTType = _text(header.ModalityLUTSequence[0], "ModalityLUTType") or "US"  # unspecified
        found.ModalityLUTSequence = luts[:1]
        return found
    slope, intercept = _first(header, "RescaleSlope"), _first(header, "RescaleIntercept")
    if slope is not None and intercept is not None:
        found.RescaleIntercept, found.RescaleSlope = format_number_as_ds(intercept), format_number_as_ds(slope)
        usual = "HU" if header.get("SOPClassUID") in CT else "US"
        found.RescaleType = _text(header, "RescaleType")[:64] or usual
    return found


def voi_lut(header: Dataset, values: tuple[float, float]) -> Dataset:
    """An item of the Softcopy VOI LUT Sequence (PS3.3 C.11.8), without the images that it is for.

    values: least and greatest modality value, the window of an image that has none.
    """
    item = Dataset()
    if luts := _luts(header, "VOILUTSequence"):
        item.VOILUTSequence = luts[:1]
        return item
    centre, width, function = _window(header) or _whole(*values)
    item.WindowCenter, item.WindowWidth = format_number_as_ds(centre), format_number_as_ds(width)
    if function:
        item.VOILUTFunction = function
    return item


def sense(header: Dataset) -> str:
    """Presentation LUT Shape (2050,0020): in a presentation state it alone says whether high values are dark, whatever
    the Photometric Interpretation (PS3.3 C.11.6.1)."""
    turned = _text(header, "PhotometricInterpretation") == "MONOCHROME1"
    return "INVERSE" if turned or _text(header, "PresentationLUTShape") == "INVERSE" else "IDENTITY"


def displayed_area(header: Dataset, shape: tuple[int, int]) -> Dataset:
    """The whole image (PS3.3 C.10.4), its pixels as wide and high as they are. shape: (rows, columns).

    Of a film only the ratio is told: its spacing is that of the detector, not of the patient.
    """
    item = Dataset()
    item.DisplayedAreaTopLeftHandCorner = [1, 1]  # whole pixels, counted from 1
    item.DisplayedAreaBottomRightHandCorner = [shape[1], shape[0]]
    item.PresentationSizeMode = "SCALE TO FIT"
    spacing = _pair(header, "PixelSpacing")
    if spacing and header.get("SOPClassUID") in CT:
        item.PresentationPixelSpacing = [format_number_as_ds(value) for value in spacing]
    else:
        item.PresentationPixelAspectRatio = aspect_ratio(header) or [1, 1]
    return item


def _whole(least: float, greatest: float) -> tuple[float, float, str]:
    """The window whose ends are these values (PS3.3 C.11.2.1.2.1)."""
    return (least + greatest + 1) / 2, greatest - least + 1, ""


def _window(header: Dataset) -> tuple[float, float, str] | None:
    """(centre, width, function), the function empty for the usual one."""
    centre, width = _first(header, "WindowCenter"), _first(header, "WindowWidth")
    function = _text(header, "VOILUTFunction").upper()
    if centre is None or width is None or function not in FUNCTIONS or width <= 0 or width < FUNCTIONS[function]:
        return None
    return centre, width, "" if function == "LINEAR" else function


def _luts(header: Dataset, keyword: str) -> list[Dataset]:
    """Look-up tables that can be understood, with the VRs that PS3.6 leaves open."""
    try:
        return [_lut(item, header) for item in header.get(keyword) or []]
    except Exception:  # noqa: BLE001 - display advice that is damaged counts as absent
        return []


def _lut(item: Dataset, header: Dataset) -> Dataset:
    """The same look-up table with entries of 8 or 16 bits: validators know no others (PS3.3 C.11.2.1.1 does)."""
    entries, first, bits = (int(value) for value in item.LUTDescriptor)
    entries %= 2**16  # read as signed where the second value is
    data = _entries(item.LUTData, is_little=header.original_encoding[1] is not False)
    if not data.size or not 8 <= bits <= 16:
        raise ValueError("a look-up table without entries")
    if 8 < bits < 16:
        data, bits = np.rint(data * (65535 / (2**bits - 1))).clip(0, 65535), 16
    signed = first < 0
    entries -= 2**16 if signed and entries >= 2**15 else 0
    found = Dataset()
    found.add_new("LUTDescriptor", "SS" if signed else "US", [entries, first, bits])
    found.add_new("LUTData", "OW", data.astype("<u2").tobytes())
    found.update(common.copied(item, ("LUTExplanation",)))
    return found


def _entries(data: Any, is_little: bool) -> NDArray[Any]:
    """As words of 16 bits: two entries of 8 bits may share one."""
    return np.frombuffer(data, "<u2" if is_little else ">u2") if isinstance(data, bytes) else np.asarray(data)


def _text(header: Dataset, keyword: str) -> str:
    try:
        return str(header.get(keyword) or "").strip("\0 ")
    except Exception:  # noqa: BLE001 - a value pydicom cannot convert counts as absent
        return ""


def _first(header: Dataset, keyword: str) -> float | None:
    """The first of one or more numbers; None where it is absent or no finite number."""
    return next(iter(_numbers(header, keyword)), None)


def _pair(header: Dataset, keyword: str) -> tuple[float, float] | None:
    found = _numbers(header, keyword)
    return (found[0], found[1]) if len(found) == 2 and min(found) > 0 else None


def _numbers(header: Dataset, keyword: str) -> list[float]:
    try:
        value = header.get(keyword)
        numbers = [float(one) for one in (value if isinstance(value, (list, MultiValue)) else [value])]
    except Exception:  # noqa: BLE001 - as above
        return []
    return numbers if all(math.isfinite(number) for number in numbers) else []
