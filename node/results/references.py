"""How our objects refer to a source image: an object with one image, or a frame of a multi-frame object.

The header of a frame is that of its object with the frame's functional groups laid out, and names the frame in
Referenced Frame Number (0008,1160), counted from 1 (``pipeline.frames`` makes it). Of one image, it has none.
"""

from __future__ import annotations

from collections.abc import Iterable

from pydicom import Dataset


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
