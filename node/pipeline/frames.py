"""The slices of one stored CT object, as headers of their own, and their stored values one after the other.

An Enhanced CT (PS3.3 A.38) keeps position, orientation, spacing and rescale of its frames in functional groups
(C.7.6.16): shared ones, and one item for each frame. Here they are laid out as an image with a single frame has them,
so that whoever reads a slice reads one form. Such a header names its frame in Referenced Frame Number (0008,1160),
counted from 1; a header without that attribute is an object of its own. Functional groups and dimensions are left out
of it. Pixels are decoded frame by frame and never all at once.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.pixels.utils import iter_pixels
from pydicom.uid import EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage

from node.core.errors import NotAccepted
from node.pipeline.blame import blamed
from node.pipeline.codestream import check_sizes
from node.pipeline.film import decode_pixels
from node.pipeline.header import text_of

PIXEL_DATA_HEAD = 12  # bytes of its tag, VR and length in Explicit VR, PS3.5 section 7.1.2
MULTI_FRAME_CT = (EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage)
MACROS = (  # of one item each: PS3.3 C.7.6.16.2, C.8.15.3; the last two of legacy converted objects, C.7.6.16.2.25
    "PixelMeasuresSequence",
    "PlaneOrientationSequence",
    "PlanePositionSequence",
    "FrameContentSequence",
    "PixelValueTransformationSequence",
    "CTImageFrameTypeSequence",
    "CTReconstructionSequence",
    "FrameVOILUTSequence",
    "UnassignedSharedConvertedAttributesSequence",
    "UnassignedPerFrameConvertedAttributesSequence",
)
NOT_OF_A_FRAME = (
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
    "DimensionOrganizationSequence",
    "DimensionIndexSequence",
    "NumberOfFrames",
)


def is_multi_frame(header: Dataset) -> bool:
    return text_of(header, "SOPClassUID") in MULTI_FRAME_CT


def slices_of(header: Dataset) -> list[Dataset]:
    """One header for each frame, in the order of the object; the header itself where it is no multi-frame CT."""
    if not is_multi_frame(header):
        return [header]
    of_frames = _items(header, "PerFrameFunctionalGroupsSequence")
    said = text_of(header, "NumberOfFrames")
    if not of_frames or said != str(len(of_frames)):
        raise NotAccepted(f"The multi-frame CT says {said or 'no'} frames and describes {len(of_frames)}.")
    if text_of(header, "InConcatenationNumber"):
        raise NotAccepted("The multi-frame CT is one part of a concatenation; whole objects are read.")
    common = header[:]  # a copy that shares the values
    for keyword in NOT_OF_A_FRAME:
        common.pop(keyword, None)
    for group in _items(header, "SharedFunctionalGroupsSequence"):
        _lay_out(common, group)
    return [_of_frame(common, group, number) for number, group in enumerate(of_frames, start=1)]


def stored_values(path: Path, frames: Sequence[int]) -> Iterator[NDArray[Any]]:
    """Of each frame in turn, (row, column); [0] for an object with one image. Raises Refused, Transient, or what
    pydicom does."""
    if list(frames) == [0]:
        yield decode_pixels(path)
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            _check_sizes(path)
            yield from iter_pixels(path, indices=[number - 1 for number in frames], raw=True)
        except OSError as error:
            raise blamed(error) from error


def _check_sizes(path: Path) -> None:
    with path.open("rb") as file:
        header = dcmread(file, stop_before_pixels=True)
        if header.file_meta.TransferSyntaxUID.is_encapsulated:
            file.seek(PIXEL_DATA_HEAD, os.SEEK_CUR)
            check_sizes(header, file)


def _of_frame(common: Dataset, group: Dataset, number: int) -> Dataset:
    frame = common[:]
    _lay_out(frame, group)
    if "FrameType" in frame:
        frame.add_new("ImageType", "CS", frame.FrameType)  # the same values, of the frame (C.8.15.3.1)
    frame.add_new("ReferencedFrameNumber", "IS", number)
    return frame


def _lay_out(header: Dataset, group: Dataset) -> None:
    """Elements are replaced, never changed in place: the headers share them."""
    for macro in MACROS:
        for item in _items(group, macro)[:1]:
            for tag in item.keys():  # noqa: SIM118 - iterating a Dataset would convert every value
                header[tag] = item.get_item(tag)


def _items(ds: Dataset, keyword: str) -> list[Dataset]:
    try:
        return list(ds.get(keyword) or [])
    except Exception:  # noqa: BLE001 - a value pydicom cannot convert counts as absent
        return []
