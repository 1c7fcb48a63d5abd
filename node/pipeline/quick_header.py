"""The values that receipt needs, walked out of an ordinary data set in a tenth of the time a parser takes.

Ordinary means little endian, ASCII in every text that is needed, and lengths as the standard has them; anything else
gives None, and the careful way (``header``) reads the same bytes and says what it finds. PS3.5 sections 7.1 and 7.5.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from node.core.errors import BadDataSet
from node.pipeline.wholeness import LONG_VRS, MOST_ELEMENTS, PIXEL_DATA, SHORT_VRS, UNDEFINED, Encoding, after_items

TEXT, NUMBER, STRING_NUMBER = "text", "number", "string number"
WANTED = {  # tag -> keyword, how it is read
    0x00080014: ("InstanceCreatorUID", TEXT),
    0x00080016: ("SOPClassUID", TEXT),
    0x00080018: ("SOPInstanceUID", TEXT),
    0x00080020: ("StudyDate", TEXT),
    0x00080050: ("AccessionNumber", TEXT),
    0x00080060: ("Modality", TEXT),
    0x0008103E: ("SeriesDescription", TEXT),
    0x00100020: ("PatientID", TEXT),
    0x00100021: ("IssuerOfPatientID", TEXT),
    0x00180015: ("BodyPartExamined", TEXT),
    0x00185101: ("ViewPosition", TEXT),
    0x0020000D: ("StudyInstanceUID", TEXT),
    0x0020000E: ("SeriesInstanceUID", TEXT),
    0x00200013: ("InstanceNumber", STRING_NUMBER),
    0x00280008: ("NumberOfFrames", STRING_NUMBER),
    0x00280010: ("Rows", NUMBER),
    0x00280011: ("Columns", NUMBER),
}
EXPLICIT, IMPLICIT_OR_LONG = struct.Struct("<HH2sH"), struct.Struct("<HHI")
LONG = struct.Struct("<I")


@dataclass(frozen=True)
class Walked:
    """texts and numbers by keyword; what is absent or empty is not in them."""

    texts: dict[str, str]
    numbers: dict[str, int]

    def text(self, keyword: str) -> str:
        return self.texts.get(keyword, "")

    def number(self, keyword: str) -> int | None:
        return self.numbers.get(keyword)


def walk(data: memoryview, implicit: bool) -> Walked | None:
    """The values, where the whole data set is ordinary and whole; else None."""
    try:
        found = _Walk(data, implicit)
        found.run()
    except (struct.error, ValueError, BadDataSet, _Unusual):
        return None
    return Walked(found.texts, found.numbers)


class _Unusual(Exception):
    """Something that the careful way should look at."""


class _Walk:
    def __init__(self, data: memoryview, implicit: bool) -> None:
        self._data, self._end, self._implicit = data, len(data), implicit
        self._encoding = Encoding(implicit, little=True)
        self.texts: dict[str, str] = {}
        self.numbers: dict[str, int] = {}

    def run(self) -> None:
        data, end, position, last, count = self._data, self._end, 0, -1, 0
        while position < end:
            tag, length, value = self._head(position)
            if tag <= last or count == MOST_ELEMENTS:
                raise _Unusual
            last, count = tag, count + 1
            if length == UNDEFINED:
                position = after_items(data, value, self._encoding, encapsulated=tag in PIXEL_DATA)
                continue
            position = value + length
            if position > end:
                raise _Unusual
            if tag in WANTED and length:
                self._take(tag, bytes(data[value:position]))

    def _head(self, position: int) -> tuple[int, int, int]:
        """(tag, length, position of the value)"""
        if self._implicit:
            group, element, length = IMPLICIT_OR_LONG.unpack_from(self._data, position)
            return group << 16 | element, length, position + 8
        group, element, vr, length = EXPLICIT.unpack_from(self._data, position)
        if vr in SHORT_VRS:
            return group << 16 | element, length, position + 8
        (length,) = LONG.unpack_from(self._data, position + 8)
        if vr not in LONG_VRS or (vr == b"UN" and length == UNDEFINED):
            raise _Unusual
        return group << 16 | element, length, position + 12

    def _take(self, tag: int, value: bytes) -> None:
        keyword, kind = WANTED[tag]
        if kind is NUMBER:
            (self.numbers[keyword],) = struct.unpack("<H", value)
            return
        text = value.decode("ascii").strip("\0 ")  # UnicodeDecodeError is a ValueError: the careful way knows more
        if "\\" in text or "\0" in text or "\x1b" in text or not text.isprintable():
            raise _Unusual
        if kind is STRING_NUMBER:
            number = int(text) if text.isdecimal() else None
            if number is None or number >= 2**31:
                raise _Unusual
            self.numbers[keyword] = number
        elif text:
            self.texts[keyword] = text
