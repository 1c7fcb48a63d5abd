"""A file of the archive as bytes: where its data set begins, which elements it has, where its pixels lie.

Nothing is decoded and nothing copied: the file is mapped, so that of a large object only the pages that are looked at
are read. Positions count from the start of ``Opened.data``. What is deflated or big endian is brought into memory as
explicit little endian first, up to a limit. PS3.10 section 7.1, PS3.5 sections 7.1 and A.4.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydicom.datadict import dictionary_VR

from node.core.errors import BadDataSet, NotAccepted
from node.pipeline.endian import little
from node.pipeline.header import BIG_ENDIAN, DEFLATED, IMPLICIT, LARGEST_INFLATED, inflate
from node.pipeline.wholeness import LONG_VRS, PIXEL_DATA, UNDEFINED, Encoding, after_items

USUAL_HEADER = 1 << 14  # bytes that hold the header of most images
PREAMBLE_BYTES, META_GROUP, TRANSFER_SYNTAX = 132, 0x0002, 0x00020010
AMBIGUOUS = {"US or SS": "US", "OB or OW": "OW", "US or OW": "OW", "US or SS or OW": "OW"}  # PS3.5 annex A.1
_SHORT, _LONG = struct.Struct("<HH2sH"), struct.Struct("<I")
_IMPLICIT = struct.Struct("<HHI")


@dataclass(frozen=True)
class Element:
    """length: UNDEFINED for sequences and encapsulated pixels that do not tell; start and end of the value."""

    tag: int
    vr: str
    start: int
    length: int
    end: int


@dataclass(frozen=True)
class Opened:
    """data: the file, or the data set alone where it had to be made plain; start: of the data set in it. descriptor: of
    the file that is mapped, None where it is not."""

    data: memoryview
    start: int
    implicit: bool
    transfer_syntax_uid: str
    descriptor: int | None

    def elements(self) -> Iterator[Element]:
        """Those of the top level."""
        return elements(self.data, self.start, len(self.data), self.implicit)

    def read(self, begin: int, end: int) -> bytes:
        """A long part: read, not looked at, since pages that are mapped stay with the process while it is open."""
        if self.descriptor is None:
            return bytes(self.data[begin:end])
        return os.pread(self.descriptor, end - begin, begin)


def expect(path: Path, length: int) -> None:
    """Let the kernel read so much of a file that is wanted soon, 0 for all of it; received files were written past its
    cache."""
    with contextlib.suppress(OSError), path.open("rb", buffering=0) as file:
        os.posix_fadvise(file.fileno(), 0, length, os.POSIX_FADV_WILLNEED)


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Opened]:
    """BadDataSet where the file is none of ours."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        view = memoryview(content)
        os.pread(file.fileno(), USUAL_HEADER, 0)  # a page that is missing would stop every thread, this stops one
        try:
            syntax, start = _meta(view)
            if syntax in (BIG_ENDIAN, DEFLATED):
                yield Opened(memoryview(_made_plain(view[start:], syntax)), 0, False, syntax, None)
            else:
                yield Opened(view, start, syntax == IMPLICIT, syntax, file.fileno())
        except struct.error:
            raise BadDataSet("The stored file ends in the middle of an element.") from None
        finally:
            view.release()


def elements(data: memoryview, position: int, end: int, implicit: bool) -> Iterator[Element]:
    """The elements between two positions, those within sequences left out."""
    encoding = Encoding(implicit, little=True)
    while position < end:
        tag, vr, length, position = head(data, position, implicit)
        after = position + length
        if length == UNDEFINED:
            inner = Encoding(implicit=True, little=True) if vr == "UN" else encoding
            after = after_items(data, position, inner, encapsulated=tag in PIXEL_DATA)
        yield Element(tag, vr, position, length, after)
        position = after


def head(data: memoryview, position: int, implicit: bool) -> tuple[int, str, int, int]:
    """(tag, VR, length, position of the value); the VR of implicit elements from the dictionary."""
    if implicit:
        group, element, length = _IMPLICIT.unpack_from(data, position)
        tag = group << 16 | element
        return tag, "" if group == 0xFFFE else usual_vr(tag), length, position + 8
    group, element, vr, length = _SHORT.unpack_from(data, position)
    tag = group << 16 | element
    if group == 0xFFFE:  # items and delimiters have no VR
        return tag, "", _LONG.unpack_from(data, position + 4)[0], position + 8
    if vr in LONG_VRS:
        return tag, vr.decode(), _LONG.unpack_from(data, position + 8)[0], position + 12
    return tag, vr.decode("ascii", "replace"), length, position + 8


def usual_vr(tag: int) -> str:
    """By the dictionary; UN for what it does not know."""
    if tag & 0x10000:
        return "LO" if 0x10 <= tag & 0xFFFF <= 0xFF else "UN"  # private; creators, PS3.5 section 7.8.1
    if not tag & 0xFFFF:
        return "UL"  # group length
    try:
        vr = dictionary_VR(tag)
    except KeyError:
        return "UN"
    return AMBIGUOUS.get(vr, vr)


def _meta(data: memoryview) -> tuple[str, int]:
    """(transfer syntax, position of the data set)"""
    position, syntax = PREAMBLE_BYTES, ""
    if bytes(data[PREAMBLE_BYTES - 4 : PREAMBLE_BYTES]) != b"DICM":
        raise BadDataSet("The stored file is no DICOM file.")
    while position < len(data) and _SHORT.unpack_from(data, position)[0] == META_GROUP:
        tag, _, length, start = head(data, position, implicit=False)
        position = start + length
        if tag == TRANSFER_SYNTAX:
            syntax = bytes(data[start:position]).decode("ascii", "replace").strip("\0 ")
    return syntax, position


def _made_plain(data: memoryview, syntax: str) -> bytes:
    if len(data) > LARGEST_INFLATED:
        raise NotAccepted("The stored object is too large to be turned into little endian.")
    return inflate(data, LARGEST_INFLATED) if syntax == DEFLATED else little(data)
