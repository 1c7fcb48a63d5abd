"""A data set as a Part 10 file in an Explicit VR Little Endian encoding (PS3.5 Annex A.2 and A.4), byte for byte as
pydicom writes it.

pydicom goes twice through the tree of a report and makes a buffer for each of its hundreds of elements, most of them
codes and short text: a third of the time that a report takes. Those and sequences are encoded here. All other elements,
and data sets that were read from a file or are not in UTF-8, are left to pydicom. No item names a character set of its
own (PS3.5 section 7.5.3).
"""

from __future__ import annotations

import io
import struct

from pydicom import DataElement, Dataset
from pydicom.dataelem import RawDataElement
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import correct_ambiguous_vr_element, write_data_element, write_file_meta_info

from node.results.character_sets import UTF_8

ANY_TEXT = frozenset(("LO", "LT", "SH", "ST", "UC", "UT"))  # in the character set of the data set, PS3.5 section 6.2
PADDING = dict.fromkeys((*ANY_TEXT, "AE", "AS", "CS", "DA", "DT", "TM", "UR"), b" ") | {"UI": b"\0"}
LONG = frozenset(("SQ", "UC", "UR", "UT"))  # of those here, with a length of 32 bits: PS3.5 Table 7.1-1
LONGEST_SHORT = 0xFFFE  # of a value with a length of 16 bits
ITEM = b"\xfe\xff\x00\xe0"  # (FFFE,E000)


def part10(ds: Dataset) -> bytes:
    """``ds.file_meta`` names the transfer syntax. Raises what pydicom raises for text that cannot be encoded."""
    if ds.get("SpecificCharacterSet") != UTF_8 or ds.original_encoding != (None, None):
        return _written(ds)
    head = DicomBytesIO()
    head.write(bytes(128) + b"DICM")  # PS3.10 section 7.1
    write_file_meta_info(head, ds.file_meta)
    if "PixelData" in ds:
        ds["PixelData"].is_undefined_length = ds.file_meta.TransferSyntaxUID.is_compressed  # PS3.5 Annex A.4
    return b"".join((head.getvalue(), *_elements(ds, ())))


def _written(ds: Dataset) -> bytes:
    buffer = io.BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _elements(ds: Dataset, around: tuple[Dataset, ...]) -> list[bytes]:
    """``around``: the data sets that it is an item of, the nearest first."""
    return [_element(element, (ds, *around)) for element in sorted(ds.values(), key=_place)]


def _place(element: DataElement | RawDataElement) -> int:
    return int(element.tag)


def _element(element: DataElement | RawDataElement, within: tuple[Dataset, ...]) -> bytes:
    if isinstance(element, RawDataElement):
        element = within[0][element.tag]
    vr, tag = element.VR, int(element.tag)
    is_plain = vr == "SQ" and not element.is_undefined_length
    content = b"".join([_item(item, within) for item in element.value]) if is_plain else _one_text(vr, element.value)
    if vr in LONG and content is not None:
        return struct.pack("<HH2s2xL", tag >> 16, tag & 0xFFFF, vr.encode(), len(content)) + content
    if content is not None and len(content) <= LONGEST_SHORT:
        return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr.encode(), len(content)) + content
    return _by_pydicom(element, within)


def _one_text(vr: str, value: object) -> bytes | None:
    """None where it is not a single value of text that can be written as it stands."""
    if vr not in PADDING or not isinstance(value, str) or not (value.isascii() or vr in ANY_TEXT):
        return None
    try:
        content = value.encode()
    except UnicodeError:
        return None
    return content + PADDING[vr] * (len(content) % 2)


def _item(item: Dataset, around: tuple[Dataset, ...]) -> bytes:
    content = b"".join(_elements(item, around))
    return ITEM + struct.pack("<L", len(content)) + content


def _by_pydicom(element: DataElement, within: tuple[Dataset, ...]) -> bytes:
    """``within``: the data set of the element and those around it; they decide where its VR is one of several."""
    correct_ambiguous_vr_element(element, within[0], True, list(within))
    buffer = DicomBytesIO()
    buffer.is_implicit_VR, buffer.is_little_endian = False, True
    write_data_element(buffer, element, UTF_8)
    return buffer.getvalue()
