"""What a compressed frame says of its own size, before a decoder believes it.

Decoders allocate what the stream claims, whatever Rows and Columns say: a film of a few kilobytes could ask for 60000 x
60000 pixels and fill the memory of a worker. JPEG and JPEG-LS (ISO 10918-1 B.2.2, ISO 14495-1 C.2.2; every frame
header, hierarchical ones too) and JPEG 2000 (ISO 15444-1 A.5.1, also within the JP2 boxes of I.4 that some writers
leave on). RLE has no size of its own. Pure: bytes in, numbers out.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

from pydicom import Dataset
from pydicom.encaps import generate_frames
from pydicom.filebase import ReadableBuffer
from pydicom.uid import UID

from node.core.errors import BadDataSet

Size = tuple[int, int, int]  # rows, columns, components
SOC_SIZ, JP2 = b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  "
MARKER = re.compile(rb"\xff+([\x80-\xcf\xd8-\xfe])")  # not within entropy-coded data, and no restart
FRAME = {*range(0xC0, 0xD0), 0xDE, 0xF7} - {0xC4, 0xC8, 0xCC}  # SOFn, DHP, and SOF55 of JPEG-LS
ALONE = {0xD8, 0xD9}  # SOI, EOI


def check_sizes(header: Dataset, pixel_data: bytes | ReadableBuffer) -> None:
    """BadDataSet where a frame is not of the size that the header says. ``pixel_data``: encapsulated, from its
    beginning or where the file stands."""
    if "JPEG" not in UID(header.file_meta.TransferSyntaxUID).name:
        return
    rows, columns = int(header.Rows), int(header.Columns)
    wanted = (rows, columns, int(header.get("SamplesPerPixel") or 1))
    table = header.get("ExtendedOffsetTable"), header.get("ExtendedOffsetTableLengths")
    frames = generate_frames(
        pixel_data,
        number_of_frames=int(header.get("NumberOfFrames") or 1),
        extended_offsets=(table[0], table[1]) if all(table) else None,
    )
    for frame in frames:
        for found in sizes(frame):
            if found != wanted:
                raise BadDataSet(f"A compressed frame says {_said(found)}; the header says {_said(wanted)}.")


def _said(size: Size) -> str:
    return f"{size[1]} x {size[0]} pixels of {size[2]} samples"


def sizes(frame: bytes) -> Iterator[Size]:
    """Each size that the stream names; none where it cannot be read, which is the decoder's to say."""
    try:
        if frame.startswith(JP2) or frame.startswith(SOC_SIZ):
            yield _jpeg_2000(frame)
        else:
            yield from _jpeg(frame)
    except struct.error:
        return


def _jpeg_2000(frame: bytes) -> Size:
    begin = 0
    while not frame.startswith(SOC_SIZ, begin):
        length, kind, longer = struct.unpack_from(">I4sQ", frame, begin)
        head, length = (16, longer) if length == 1 else (8, length)
        if kind == b"jp2c":
            begin += head
            break
        begin += max(length, head)
    right, bottom, left, top = struct.unpack_from(">4I", frame, begin + 8)
    (components,) = struct.unpack_from(">H", frame, begin + 40)
    return bottom - top, right - left, components


def _jpeg(frame: bytes) -> Iterator[Size]:
    position = 0
    while found := MARKER.search(frame, position):
        kind, position = found[1][0], found.end()
        if kind in ALONE:
            continue
        if kind in FRAME:
            yield struct.unpack_from(">HHB", frame, position + 3)
        (length,) = struct.unpack_from(">H", frame, position)
        position += max(length, 2)
