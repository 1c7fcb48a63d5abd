"""Is an encoded data set whole? A walk over lengths only: no value is decoded, nothing is copied.

PS3.5 section 7.1 (elements), 7.5 (sequences and items), A.4 (encapsulated pixel data). A data set that ends in the
middle of an element, names a VR that does not exist, nests deeper or has more elements than anyone means, is
``BadDataSet``.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from node.core.errors import BadDataSet

UNDEFINED = 0xFFFFFFFF
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
PIXEL_DATA = (0x7FE00008, 0x7FE00009, 0x7FE00010)
DEEPEST = 64
MOST_ELEMENTS = 20_000  # at the top level; a reader makes an object of each, some hundred bytes of memory
LONG_VRS = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
SHORT_VRS = {
    b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT", b"PN", b"SH", b"SL", b"SS",
    b"ST", b"TM", b"UI", b"UL", b"US",
}  # fmt: skip


@dataclass(frozen=True)
class Encoding:
    implicit: bool
    little: bool


IMPLICIT_LITTLE = Encoding(implicit=True, little=True)


def check_whole(encoded: bytes | memoryview, encoding: Encoding) -> int | None:
    """Offset of the first pixel data element, or None. BadDataSet where the walk breaks."""
    return _Walk(memoryview(encoded)).elements(0, encoding, 0, until_item_end=False)[1]


def after_items(encoded: memoryview, position: int, encoding: Encoding, encapsulated: bool) -> int:
    """Where a sequence without a length, or encapsulated pixel data, of the top level ends. BadDataSet as above."""
    return _Walk(encoded).items(position, encoding, 0, encapsulated)


class _Walk:
    def __init__(self, data: memoryview) -> None:
        self._data, self._end = data, len(data)

    def elements(self, position: int, encoding: Encoding, depth: int, until_item_end: bool) -> tuple[int, int | None]:
        """Walk elements; returns (position after them, offset of pixel data at the top level)."""
        if depth > DEEPEST:
            raise BadDataSet(f"The data set nests sequences deeper than {DEEPEST} levels.")
        pixels, last, count = None, -1, 0
        while position < self._end:
            start = position
            tag, vr, length, position = self._head(position, encoding)
            if until_item_end and tag == ITEM_END:
                return position, pixels
            if depth == 0 and tag <= last:
                raise BadDataSet(f"The data set's elements are out of order at byte {start}.")
            last, count = tag, count + 1
            if depth == 0 and count > MOST_ELEMENTS:
                raise BadDataSet(f"The data set has more than {MOST_ELEMENTS} elements.")
            if depth == 0 and pixels is None and tag in PIXEL_DATA:
                pixels = start
            if length != UNDEFINED:
                position = self._skip(position, length)
            else:
                inner = IMPLICIT_LITTLE if vr == b"UN" else encoding
                position = self.items(position, inner, depth, encapsulated=tag in PIXEL_DATA and depth == 0)
        if until_item_end:
            raise BadDataSet("The data set ends in the middle of a sequence.")
        return position, pixels

    def items(self, position: int, encoding: Encoding, depth: int, encapsulated: bool) -> int:
        """Walk items up to their end; returns the position after it."""
        while True:
            tag, length, position = self._item_head(position, encoding)
            if tag == SEQUENCE_END:
                return position
            if tag != ITEM:
                raise BadDataSet(f"The data set has something else than an item in a sequence at byte {position - 8}.")
            if length != UNDEFINED:
                position = self._skip(position, length)
            elif encapsulated:
                raise BadDataSet("A fragment of the pixel data has no length.")
            else:
                position, _ = self.elements(position, encoding, depth + 1, until_item_end=True)

    def _head(self, position: int, encoding: Encoding) -> tuple[int, bytes, int, int]:
        """(tag, VR or empty, length, position of the value)"""
        order = "<" if encoding.little else ">"
        group, element = self._read(order + "HH", position)
        tag = group << 16 | element
        if encoding.implicit or group == 0xFFFE:
            (length,) = self._read(order + "I", position + 4)
            return tag, b"", length, position + 8
        vr = bytes(self._data[position + 4 : position + 6])
        if vr in SHORT_VRS:
            (length,) = self._read(order + "H", position + 6)
            return tag, vr, length, position + 8
        if vr not in LONG_VRS:
            raise BadDataSet(f"Element ({group:04X},{element:04X}) has no valid value representation.")
        (length,) = self._read(order + "I", position + 8)
        return tag, vr, length, position + 12

    def _item_head(self, position: int, encoding: Encoding) -> tuple[int, int, int]:
        order = "<" if encoding.little else ">"
        group, element, length = self._read(order + "HHI", position)
        return group << 16 | element, length, position + 8

    def _read(self, form: str, position: int) -> tuple[int, ...]:
        try:
            return struct.unpack_from(form, self._data, position)
        except struct.error:
            raise BadDataSet("The data set ends in the middle of an element.") from None

    def _skip(self, position: int, length: int) -> int:
        if position + length > self._end:
            missing = position + length - self._end
            raise BadDataSet(f"The data set is cut short: {missing} bytes of an element are missing.")
        return position + length
