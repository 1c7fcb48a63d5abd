"""Values of a source header in the form that PS3.5 Table 6.2-1 asks of their VR, so that our objects may carry them.

Where it is plain what was meant, a value is mended: blanks for line breaks, dates and times of ACR-NEMA, numbers with
too many digits, code strings in small letters. What is too long is shortened. The rest is left out. A name that had to
be shortened, and an identifier that had to be changed at all, ends with ``~`` and eight hexadecimal digits of what was
received: it stays recognisable, and it is not the identifier of somebody else. A legal value stays as it is.
Knows values alone; attributes and their sequences are in ``elements``.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Any

from pydicom.valuerep import format_number_as_ds

IR58_ESCAPE = "\x1b$)A"  # pydicom leaves it in text decoded from ISO 2022 IR 58
LOST = "\ufffd"  # what a decoder writes for bytes that are no text
LONGEST = {"SH": 16, "LO": 64, "ST": 1024, "LT": 10240, "UC": 1024, "UT": 10240}  # characters; the last two are ours
LONGEST_GROUP, MOST_GROUPS, MOST_COMPONENTS = 64, 3, 5  # of a person name, PS3.5 section 6.2.1.1
MOST_VALUES = 100  # of an attribute that may have any number
NOT_IN_A_LINE = re.compile(r" *[\\\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff][\\\s\x00-\x1f\x7f-\x9f\ud800-\udfff]*")
NOT_IN_TEXT = re.compile(r"[\x00-\x09\x0b\x0e-\x1f\x7f-\x9f\ud800-\udfff]+")  # lines and pages are allowed there
IDENTIFIERS = frozenset(
    ("PatientID", "IssuerOfPatientID", "OtherPatientIDs", "AccessionNumber", "StudyID", "AdmissionID",
     "ServiceEpisodeID", "RequestedProcedureID", "ScheduledProcedureStepID", "PlacerOrderNumberImagingServiceRequest",
     "FillerOrderNumberImagingServiceRequest")
)  # fmt: skip
EXACT = frozenset(  # of what is written otherwise nobody would know the meaning
    ("CodeValue", "LongCodeValue", "URNCodeValue", "CodingSchemeDesignator", "CodingSchemeVersion",
     "LocalNamespaceEntityID", "UniversalEntityID")
)  # fmt: skip
FOLLOWED = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID")  # as the source has them
ENUMERATED: Mapping[str, tuple[str, ...]] = {
    "PatientSex": ("M", "F", "O"),
    "PatientIdentityRemoved": ("YES", "NO"),
    "TypeOfPatientID": ("TEXT", "RFID", "BARCODE"),
    "UniversalEntityIDType": ("DNS", "EUI64", "ISO", "URI", "UUID", "X400", "X500"),  # PS3.3 Table 10-17
    "BurnedInAnnotation": ("YES", "NO"),
    "LossyImageCompression": ("00", "01"),
}
ORIENTATION = re.compile(r"(?!.*(.).*\1)[LRAPHF]{1,3}")  # PS3.3 C.7.6.1.1.1
DATE = re.compile(r"(\d{4})(\.?)(\d\d)\2(\d\d)", re.ASCII)
TIME = re.compile(r"([01]\d|2[0-3])(?::?([0-5]\d)(?::?([0-5]\d|60)(\.\d+)?)?)?", re.ASCII)
DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
UID_FORM = re.compile(r"\d+(\.\d+)*", re.ASCII)
URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[\w:/?#\[\]@!$&'()*+,;=%.~-]+", re.ASCII)
LEGAL_UID = re.compile(r"(0|[1-9]\d*)(\.(0|[1-9]\d*))*", re.ASCII)


def values(keyword: str, vr: str, vm: str, given: Sequence[Any], salt: str = "") -> list[Any]:
    """Legal values of an attribute; none where it has none that can be understood. vm: as in PS3.6.

    salt: tells apart two identifiers of which letters were lost in decoding.
    """
    if vr not in FORMS:
        return list(given)
    texts = [str(value).strip("\0 ") for value in given]
    if vm == "1" and len(texts) > 1 and vr in ("LO", "PN", "SH"):
        texts = ["\\".join(texts)]  # of one value that holds backslashes
    found: list[str | None]
    if vr in ("LO", "SH") and keyword in IDENTIFIERS:
        found = [_identifier(text, LONGEST[vr], salt) for text in texts]
    elif keyword in EXACT:
        found = [text if FORMS[vr](keyword, text) == text else None for text in texts]
    else:
        found = [FORMS[vr](keyword, text) for text in texts]
    kept = [value for value in found if value is not None]
    return kept if len(kept) == len(found) and any(kept) and _has_room(vm, len(kept)) else []


def _has_room(vm: str, count: int) -> bool:
    least, _, most = vm.partition("-")
    return int(least) <= count <= (MOST_VALUES if most.endswith("n") else int(most or least))


def _line(text: str) -> str:
    """Blanks for control characters (PS3.5 section 6.1.3), which line breaks are, and for the sign between values."""
    return NOT_IN_A_LINE.sub(" ", text.replace(IR58_ESCAPE, "")).strip(" ")


def _lines(text: str) -> str:
    return NOT_IN_TEXT.sub(" ", text.replace(IR58_ESCAPE, "")).strip(" ")


def _marked(text: str, whole: str, most: int) -> str:
    """``text`` in ``most`` bytes of UTF-8, since some count bytes; the last nine tell ``whole`` from others."""
    return f"{_cut(text, most - 9)}~{hashlib.sha256(whole.encode(errors='replace')).hexdigest()[:8]}"


def _cut(text: str, most: int) -> str:
    return text.encode()[:most].decode(errors="ignore").rstrip(" ")


def _identifier(text: str, most: int, salt: str) -> str:
    plain, received = _line(text), text.replace(IR58_ESCAPE, "").strip(" \t\r\n")
    if not plain:
        return ""
    if plain == received and LOST not in plain and len(plain) <= most:
        return plain
    return _marked(plain.replace(LOST, "?"), received + (salt if LOST in plain else ""), most)


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else _cut(text, most - 3) + "..."


def _name(keyword: str, text: str) -> str | None:
    """PS3.5 section 6.2.1.1: three groups, each of five components and 64 characters."""
    groups = [_group(group) for group in text.split("=")]
    name = "=".join(groups[:MOST_GROUPS])
    return name if name.strip("=^ ") else None


def _group(text: str) -> str:
    parts = _line(text).split("^")
    last = MOST_COMPONENTS - 1
    plain = "^".join([*parts[:last], *([" ".join(filter(None, parts[last:]))] if len(parts) > last else [])])
    return plain if len(plain) <= LONGEST_GROUP else _marked(plain, text, LONGEST_GROUP)


def _code_string(keyword: str, text: str) -> str | None:
    word = text.upper()
    if keyword == "PatientOrientation":
        return word if ORIENTATION.fullmatch(word) else None
    allowed = ENUMERATED.get(keyword)
    legal = word in allowed if allowed else re.fullmatch(r"[A-Z0-9 _]{0,16}", word) is not None
    return word if legal else None


def _date(keyword: str, text: str) -> str | None:
    found = DATE.fullmatch(text)
    try:
        return date(*(int(found[part]) for part in (1, 3, 4))).strftime("%Y%m%d").zfill(8) if found else None
    except ValueError:
        return None


def _time(keyword: str, text: str) -> str | None:
    found = TIME.fullmatch(text)
    return "".join(part or "" for part in found.groups())[:13] if found else None  # microseconds at most


def _decimal(keyword: str, text: str) -> str | None:
    if not DECIMAL.fullmatch(text) or not math.isfinite(float(text)):
        return None
    return text if len(text) <= 16 else str(format_number_as_ds(float(text)))


def _integer(keyword: str, text: str) -> str | None:
    if not re.fullmatch(r"[+-]?\d{1,12}", text, re.ASCII) or not -(2**31) <= int(text) < 2**31:
        return None
    return text if len(text) <= 12 else str(int(text))


def _uid(keyword: str, text: str) -> str | None:
    form = UID_FORM if keyword in FOLLOWED else LEGAL_UID
    return text if len(text) <= 64 and form.fullmatch(text) else None


def _uri(keyword: str, text: str) -> str | None:
    return text if len(text) <= LONGEST["UC"] and URI.fullmatch(text) else None


FORMS: Mapping[str, Callable[[str, str], str | None]] = {  # None: cannot be understood
    "AS": lambda keyword, text: text if re.fullmatch(r"\d{3}[DWMY]", text, re.ASCII) else None,
    "CS": _code_string,
    "DA": _date,
    "DS": _decimal,
    "IS": _integer,
    "LO": lambda keyword, text: _short(_line(text), LONGEST["LO"]),
    "LT": lambda keyword, text: _short(_lines(text), LONGEST["LT"]),
    "PN": _name,
    "SH": lambda keyword, text: _short(_line(text), LONGEST["SH"]),
    "ST": lambda keyword, text: _short(_lines(text), LONGEST["ST"]),
    "TM": _time,
    "UC": lambda keyword, text: _short(_line(text), LONGEST["UC"]),
    "UI": _uid,
    "UR": _uri,
    "UT": lambda keyword, text: _short(_lines(text), LONGEST["UT"]),
}
