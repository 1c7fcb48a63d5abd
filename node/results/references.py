"""How our objects refer to a source image, and how it lies: an object with one image, or a frame of several.

The header of a frame is that of its object with the frame's functional groups laid out, and names the frame in
Referenced Frame Number (0008,1160), counted from 1 (``pipeline.frames`` makes it). Of one image, it has none.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from fractions import Fraction

from pydicom import Dataset
from pydicom.uid import UID

LEAST_SHARE = 0.2  # of a direction: less than about 12 degrees beside an axis is not worth a letter
LARGEST_TERM = 1000  # of an aspect ratio


def frame_of(header: Dataset) -> int:
    """Frame number, from 1; 0 where the image is an object of its own."""
    return int(header.get("ReferencedFrameNumber") or 0)


def frames_of(header: Dataset) -> list[int] | None:
    """As highdicom wants it."""
    return [frame_of(header)] if frame_of(header) else None


def image_key(header: Dataset) -> tuple[str, ...]:
    """What tells the image from every other one in derived UIDs."""
    frame = frame_of(header)
    return (str(header.get("SOPInstanceUID", "") or ""), *([f"frame {frame}"] if frame else []))


def reference(header: Dataset) -> Dataset:
    """Items of Image SOP Instance Reference (PS3.3 Table 10-3)."""
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = header.SOPClassUID, header.SOPInstanceUID
    if frame := frame_of(header):
        item.ReferencedFrameNumber = frame
    return item


def one_for_each_object(headers: Iterable[Dataset]) -> list[Dataset]:
    """The first header of each object, in order."""
    found: dict[str, Dataset] = {}
    for header in headers:
        found.setdefault(str(header.get("SOPInstanceUID", "")), header)
    return list(found.values())


def hierarchy(study_uid: str, instances: Iterable[tuple[str, str, str]]) -> list[Dataset]:
    """The item of Hierarchical SOP Instance Reference (PS3.3 Table C.17-3) of one study.

    instances: (Series Instance UID, SOP Class UID, SOP Instance UID) of each.
    """
    found: dict[str, list[Dataset]] = {}
    for series, sop_class, instance in instances:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = UID(sop_class), UID(instance)
        found.setdefault(series, []).append(item)
    study = Dataset()
    study.StudyInstanceUID, study.ReferencedSeriesSequence = UID(study_uid), []
    for series, items in found.items():
        item = Dataset()
        item.SeriesInstanceUID, item.ReferencedSOPSequence = UID(series), items
        study.ReferencedSeriesSequence.append(item)
    return [study]


def patient_orientation(header: Dataset) -> list[str] | str:
    """Patient Orientation (0020,0020) of the rows and the columns: as stated, else by Image Orientation (Patient)
    (PS3.3 C.7.6.1.1.1); empty where neither says."""
    if stated := header.get("PatientOrientation"):
        return list(stated)
    cosines = _numbers(header, "ImageOrientationPatient")
    return [_letters(cosines[:3]), _letters(cosines[3:])] if len(cosines) == 6 else ""


def aspect_ratio(header: Dataset) -> list[int] | None:
    """Pixel Aspect Ratio (0028,0034), vertical and horizontal, of pixels that are not square (PS3.3 C.7.6.3.1.7): as
    stated, else by the spacing; it says nothing of sizes."""
    for keyword in ("PixelAspectRatio", "PixelSpacing", "ImagerPixelSpacing"):
        pair = _numbers(header, keyword)
        if len(pair) == 2 and min(pair) > 0:
            ratio = Fraction(pair[0] / pair[1]).limit_denominator(LARGEST_TERM)
            return None if ratio == 1 or not ratio else [ratio.numerator, ratio.denominator]
    return None


def spacing_of(header: Dataset) -> tuple[float, float]:
    """Between rows and between columns, in millimetres; (1, 1) where nothing usable is stated."""
    for keyword in ("PixelSpacing", "ImagerPixelSpacing"):
        pair = _numbers(header, keyword)
        if len(pair) == 2 and min(pair) > 0:
            return pair[0], pair[1]
    return 1.0, 1.0


def _letters(direction: list[float]) -> str:
    """The greatest component first."""
    named = [(abs(value), letters[value < 0]) for value, letters in zip(direction, ("LR", "PA", "HF"), strict=True)]
    return "".join(letter for size, letter in sorted(named, reverse=True) if size > LEAST_SHARE)


def _numbers(header: Dataset, keyword: str) -> list[float]:
    """Finite ones; empty where the attribute is absent or cannot be understood."""
    try:
        found = [float(value) for value in header.get(keyword) or []]
    except Exception:  # noqa: BLE001 - a value pydicom cannot convert counts as absent
        return []
    return found if all(math.isfinite(value) for value in found) else []
