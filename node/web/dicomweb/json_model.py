"""Encoded data sets as DICOM JSON (PS3.18 annex F), straight from the bytes: no value is decoded that is not shown.

Pixel data, and what is long and binary, is named by a path of tags and item numbers from 0 ("00081140/0/00091001")
and not read. Texts come out as UTF-8. A value that is not what its VR says is shown as text, or left out: a header is
shown as far as it can be understood. Also whole answers from plain values, by keyword.
"""

from __future__ import annotations

import base64
import functools
import math
import struct
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pydicom.charset import convert_encodings, decode_bytes
from pydicom.datadict import tag_for_keyword
from pydicom.valuerep import TEXT_VR_DELIMS

from node.pipeline.query_keys import Value
from node.pipeline.stored_file import Opened, head, usual_vr
from node.pipeline.wholeness import ITEM, ITEM_END, PIXEL_DATA, SEQUENCE_END, UNDEFINED, Encoding, after_items

Model = dict[str, Any]
Naming = Callable[[str, str, int, int], str]  # path, VR, begin and end of a value -> its URI
INLINE_BYTES = 1024  # of a binary value; a longer one is bulk data
CHARACTER_SET, PIXEL_REPRESENTATION = 0x00080005, 0x00280103
BINARY = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})
IN_CHARACTER_SET = frozenset({"SH", "LO", "ST", "PN", "LT", "UC", "UT"})  # PS3.5 section 6.1.2.3
WHOLE_TEXT = frozenset({"ST", "LT", "UT", "UR"})  # one value, whatever its backslashes
NUMBERS = {
    "FD": ("d", 8), "FL": ("f", 4), "SL": ("i", 4), "SS": ("h", 2), "SV": ("q", 8), "UL": ("I", 4), "US": ("H", 2),
    "UV": ("Q", 8),
}  # fmt: skip
SIGNED_WITH_PIXELS = frozenset({0x00280104, 0x00280105, 0x00280106, 0x00280107, 0x00280108, 0x00280109, 0x00280120,
                                0x00280121, 0x00283002, 0x60110010})  # "US or SS" of PS3.6  # fmt: skip
PARTS_OF_NAME = ("Alphabetic", "Ideographic", "Phonetic")


def of_file(opened: Opened, name: Naming) -> Model:
    """The whole data set of a stored file."""
    reader = _Reader(opened.data, name)
    return reader.elements(opened.start, len(opened.data), opened.implicit, "", ("iso8859",))[0]


class _Reader:
    def __init__(self, data: memoryview, name: Naming) -> None:
        self._data, self._name = data, name
        self._signed = False

    def elements(
        self, position: int, end: int, implicit: bool, path: str, encodings: tuple[str, ...]
    ) -> tuple[Model, int]:
        """Those up to ``end``, or to the end of an item that has no length; and the position after them."""
        found: Model = {}
        while position < end:
            tag, vr, length, start = head(self._data, position, implicit)
            if tag in (ITEM_END, SEQUENCE_END):
                return found, start
            here = f"{path}{tag:08X}"
            inner = implicit or vr == "UN"
            if length == UNDEFINED and tag in PIXEL_DATA:
                position = after_items(self._data, start, Encoding(implicit, little=True), encapsulated=True)
                if not path:
                    found[here] = {"vr": "OB", "BulkDataURI": self._name(here, vr, start, position)}
                continue
            if vr == "SQ" or length == UNDEFINED:
                items, position = self._items(start, length, inner, here, encodings)
                found[here[-8:]] = {"vr": "SQ", "Value": items} if items else {"vr": "SQ"}
                continue
            position = start + length
            if tag & 0xFFFF:
                found[here[-8:]] = self._element(tag, vr, start, position, here, encodings)
            if tag == CHARACTER_SET:
                encodings = _encodings(bytes(self._data[start:position]))
                found[here[-8:]] = {"vr": "CS", "Value": ["ISO_IR 192"]}  # what JSON is in
        return found, position

    def _items(
        self, position: int, length: int, implicit: bool, path: str, encodings: tuple[str, ...]
    ) -> tuple[list[Model], int]:
        end = len(self._data) if length == UNDEFINED else position + length
        items: list[Model] = []
        while position < end:
            tag, _, length, position = head(self._data, position, implicit)
            if tag != ITEM:
                break
            stop = end if length == UNDEFINED else position + length
            item, position = self.elements(position, stop, implicit, f"{path}/{len(items)}/", encodings)
            items.append(item)
        return items, position

    def _element(self, tag: int, vr: str, start: int, end: int, path: str, encodings: tuple[str, ...]) -> Model:
        if tag == PIXEL_REPRESENTATION:
            self._signed = bytes(self._data[start:end]) == b"\1\0"
        if vr == "UN":
            vr = usual_vr(tag)  # its sender did not know it: PS3.5 section 6.2.2, note 2
        if vr == "US" and self._signed and tag in SIGNED_WITH_PIXELS:
            vr = "SS"
        if start == end:
            return {"vr": vr}
        if vr in BINARY:
            if end - start > INLINE_BYTES or (tag in PIXEL_DATA and "/" not in path):
                return {"vr": vr, "BulkDataURI": self._name(path, vr, start, end)}
            return {"vr": vr, "InlineBinary": base64.b64encode(self._data[start:end]).decode()}
        content = bytes(self._data[start:end])
        if vr in NUMBERS:
            form, size = NUMBERS[vr]
            count = len(content) // size
            return _with(vr, [_finite(number) for number in struct.unpack_from(f"<{count}{form}", content)])
        if vr == "AT":
            pairs = struct.unpack_from(f"<{len(content) // 4 * 2}H", content)
            return _with(vr, [f"{a:04X}{b:04X}" for a, b in zip(pairs[::2], pairs[1::2], strict=True)])
        return _with(vr, values(vr, _decoded(vr, content, encodings)))


def values(vr: str, text: str) -> list[Any]:
    """A decoded value of a VR that is text, as the members of "Value"."""
    if vr in WHOLE_TEXT:
        return [text.rstrip("\0 ")] if text.strip("\0 ") else []
    parts = [part.strip("\0 ") for part in text.split("\\")]
    if not any(parts):
        return []
    if vr == "PN":
        return [_name(part) if part else None for part in parts]
    if vr in ("IS", "DS"):
        return [_number(vr, part) if part else None for part in parts]
    return [part or None for part in parts]


def of_values(found: Iterable[tuple[str, str, Value]]) -> Model:
    """(keyword, VR, value) of an answer; a keyword with a dot goes into the one item of its sequence."""
    made: Model = {}
    for keyword, vr, value in found:
        outer, dot, inner = keyword.partition(".")
        shown = _with(vr, _listed(vr, value))
        if dot:
            sequence = made.setdefault(_tag(outer), {"vr": "SQ", "Value": [{}]})
            sequence["Value"][0][_tag(inner)] = shown
        else:
            made[_tag(outer)] = shown
    return dict(sorted(made.items()))


def _listed(vr: str, value: Value) -> list[Any]:
    if isinstance(value, tuple):
        return [one for text in value for one in values(vr, text)]
    if isinstance(value, int):
        return [value]
    return values(vr, value or "")


@functools.cache
def _tag(keyword: str) -> str:
    return f"{tag_for_keyword(keyword):08X}"


def _with(vr: str, found: list[Any]) -> Model:
    return {"vr": vr, "Value": found} if found else {"vr": vr}


def _name(text: str) -> Mapping[str, str]:
    groups = zip(PARTS_OF_NAME, text.split("="), strict=False)
    return {group: name.rstrip() for group, name in groups if name.strip()}


def _number(vr: str, text: str) -> int | float | str:
    """As a number where it is one (PS3.18 F.2.2), without the digits that a float would add."""
    try:
        return int(text) if vr == "IS" or text.lstrip("+-").isdigit() else _finite(float(text))
    except ValueError:
        return text


def _finite(number: float) -> int | float | str:
    """JSON has no NaN and no infinity: they are strings (PS3.18 F.2.2)."""
    return number if math.isfinite(number) else {math.inf: "inf", -math.inf: "-inf"}.get(number, "NaN")


def _encodings(content: bytes) -> tuple[str, ...]:
    terms = content.decode("ascii", "replace").strip("\0 ").split("\\")
    return _converted(tuple(terms))


@functools.lru_cache(64)
def _converted(terms: tuple[str, ...]) -> tuple[str, ...]:
    try:
        return tuple(convert_encodings([term.strip() for term in terms]))
    except Exception:  # noqa: BLE001 - pydicom raises what it likes at a set that it does not know
        return ("iso8859",)


def _decoded(vr: str, content: bytes, encodings: tuple[str, ...]) -> str:
    if content.isascii() and b"\x1b" not in content:
        return content.decode("ascii")
    if vr not in IN_CHARACTER_SET:
        return content.decode("latin-1")
    try:
        return decode_bytes(content, list(encodings), TEXT_VR_DELIMS if vr != "PN" else {0x5C, 0x5E, 0x3D, 0x0A, 0x0D})
    except Exception:  # noqa: BLE001 - pydicom raises what it likes
        return content.decode("utf-8", "replace")
