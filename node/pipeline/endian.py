"""Explicit VR Big Endian (retired) turned into Explicit VR Little Endian: lengths, tags and numbers, by VR.

What is turned is whole: receipt has walked it (``wholeness``). PS3.5 section 7.3 and annex A.3.
"""

from __future__ import annotations

import struct

import numpy as np

from node.pipeline.wholeness import ITEM_END, LONG_VRS, SEQUENCE_END, UNDEFINED

WORDS = {  # VR -> bytes of one number
    b"AT": 2, b"FD": 8, b"FL": 4, b"OD": 8, b"OF": 4, b"OL": 4, b"OV": 8, b"OW": 2, b"SL": 4, b"SS": 2, b"SV": 8,
    b"UL": 4, b"US": 2, b"UV": 8,
}  # fmt: skip
DELIMITERS = 0xFFFE


def little(data: memoryview) -> bytes:
    """The same data set."""
    made = bytearray()
    _turn(data, 0, len(data), made)
    return bytes(made)


def _turn(data: memoryview, position: int, end: int, made: bytearray) -> int:
    """Elements until ``end`` or the end of an item without a length; the position after them."""
    while position < end:
        group, element = struct.unpack_from(">HH", data, position)
        made += struct.pack("<HH", group, element)
        if group == DELIMITERS:
            (length,) = struct.unpack_from(">I", data, position + 4)
            made += struct.pack("<I", length)
            position += 8
            if group << 16 | element in (ITEM_END, SEQUENCE_END):
                return position
            position = _turn(data, position, end if length == UNDEFINED else position + length, made)
            continue
        vr = bytes(data[position + 4 : position + 6])
        if vr in LONG_VRS:
            (length,) = struct.unpack_from(">I", data, position + 8)
            made += vr + bytes(2) + struct.pack("<I", length)
            position += 12
        else:
            (length,) = struct.unpack_from(">H", data, position + 6)
            made += vr + struct.pack("<H", length)
            position += 8
        if vr == b"SQ" or length == UNDEFINED:
            position = _turn(data, position, end if length == UNDEFINED else position + length, made)
            continue
        made += _value(data[position : position + length], WORDS.get(vr, 1))
        position += length
    return position


def _value(content: memoryview, size: int) -> bytes:
    if size == 1 or len(content) % size:
        return bytes(content)
    return np.frombuffer(content, f">u{size}").astype(f"<u{size}").tobytes()
