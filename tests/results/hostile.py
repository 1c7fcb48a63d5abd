"""Source headers as hostile as the field sends them: every attribute that results copy, damaged in one way at a time.

A damage is raw bytes, written to a file and read back as the node reads it. Only the attributes that decide which
study, image and pixels are meant stay sound: without those, receipt or selection refuses.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable
from io import BytesIO
from pathlib import Path

from pydicom import DataElement, Dataset, dcmread
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.sequence import Sequence
from pydicom.tag import Tag

from node.results.elements import SEQUENCES
from node.results.source import IMAGE, PATIENT, STUDY
from tests.peers import dciodvfy

Damage = Callable[[str, str], bytes | None]  # (keyword, VR) -> the raw value; None leaves the attribute out
SOUND = (
    "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID", "Rows", "Columns", "FrameOfReferenceUID",
    "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "ReferencedFrameNumber",
)  # fmt: skip
COPIED = tuple(keyword for keyword in dict.fromkeys((*PATIENT, *STUDY, *IMAGE)) if keyword not in SOUND)
TEXT = ("LO", "LT", "PN", "SH", "ST", "UT")
NEVER = "1.2.840.10008.1.2.3.4"  # nobody's UID


def put(ds: Dataset, keyword: str, value: bytes | None, vr: str = "") -> None:
    """Bytes that nobody has looked at."""
    tag = Tag(keyword)
    if value is None:
        ds.pop(tag, None)
    else:
        value += b" " * (len(value) % 2)
        ds[tag] = RawDataElement(tag, vr or dictionary_VR(tag), len(value), value, 0, False, True)


def damaged(
    ds: Dataset, damage: Damage, keywords: Iterable[str] = COPIED, character_set: bytes | None = b"ISO_IR 192"
) -> Dataset:
    """With these attributes damaged. A sequence has an item in which all of its macro is, and an empty one."""
    return received(hurt(ds, damage, keywords, character_set))


def hurt(ds: Dataset, damage: Damage, keywords: Iterable[str], character_set: bytes | None) -> Dataset:
    """``ds`` itself, not yet through a file."""
    for keyword in keywords:
        _damage(ds, keyword, damage)
    put(ds, "SpecificCharacterSet", character_set)
    return ds


def _damage(ds: Dataset, keyword: str, damage: Damage) -> None:
    if keyword not in SEQUENCES:
        put(ds, keyword, damage(keyword, dictionary_VR(keyword)))
        return
    item = Dataset()
    for inner in SEQUENCES[keyword].attributes:
        _damage(item, inner, damage)
    item.set_original_encoding(False, True, ds._character_set)  # else its raw values are decoded when written
    ds[keyword] = DataElement(Tag(keyword), "SQ", Sequence([item, Dataset()]))


def received(ds: Dataset) -> Dataset:
    """Through a file."""
    return dcmread(BytesIO(file_of(ds)), stop_before_pixels=True, force=True)


def file_of(ds: Dataset) -> bytes:
    file = BytesIO()
    ds.set_original_encoding(False, True, ds._character_set)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom warns of exactly what is meant here
        ds.save_as(file, enforce_file_format=True)
    return file.getvalue()


def _too_long(keyword: str, vr: str) -> bytes:
    endless = b"LONGMARKER" * 1600  # 16 kB
    return {
        "AS": b"0062Y", "CS": b"SEVENTEEN_LETTERS", "DA": b"202001022", "DS": b"-1.23456789012345678901",
        "IS": b"1234567890123", "TM": b"101112.1234567", "UI": b"1." + b"2" * 64,
    }.get(vr, endless)  # fmt: skip


def _of_another_form(keyword: str, vr: str) -> bytes:
    return {
        "AS": b"62", "CS": b"no", "DA": b"2024.05.06", "DS": b"1,5", "IS": b"1.0", "TM": b"10:11:12",
        "UI": b"not.a.uid", "PN": b"Doe\\Jane^^^^^^Ph.D.^=a=b=c=d",
    }.get(vr, b"one\\two\\\\three")  # fmt: skip


def _impossible(keyword: str, vr: str) -> bytes:
    return {
        "AS": b"XXXY", "CS": b"MAYBE", "DA": b"00000000", "DS": b"NaN", "IS": b"99999999999", "TM": b"25:61",
        "UI": b"1..2", "PN": b"^^^^^^^^^^^^", "SH": b"+2500",
    }.get(vr, b"\\\\\\")  # fmt: skip


def _control(keyword: str, vr: str) -> bytes:
    return b"A\r\nB\x00C\x1bD\tE\x07\x0c" if vr in TEXT else b"\r\n2\x00"


def _undecodable(keyword: str, vr: str) -> bytes:
    return b"Z\xe4\xff\xfe\x8f\x1b$Bx\xa0^\x80\x81=\xc3" if vr in TEXT else b"\xff\xfe"


def _twice(keyword: str, vr: str) -> bytes:
    sound = {
        "AS": b"062Y", "CS": b"YES", "DA": b"20200102", "DS": b"1.5", "IS": b"1", "TM": b"101112", "UI": NEVER.encode(),
        "PN": b"Doe^Jane",
    }.get(vr, b"A value")  # fmt: skip
    return b"\\".join([sound] * 8)


def _in(name: bytes) -> str:
    return f"undecodable in {name.decode('latin-1') or 'none'}"


CHARACTER_SETS = (
    b"", b"ISO_IR 100", b"ISO_IR 144", b"ISO_IR 192", b"ISO_IR 13", b"GB18030", b"ISO 2022 IR 6\\ISO 2022 IR 87",
    b"\\ISO 2022 IR 149", b"\\ISO 2022 IR 58", b"ISO_IR 999", b"utf8", b"\xff\xfe",
)  # fmt: skip
WAYS: dict[str, tuple[Damage, bytes | None]] = {  # damage, Specific Character Set
    "absent": (lambda keyword, vr: None, b"ISO_IR 192"),
    "empty": (lambda keyword, vr: b"", b"ISO_IR 192"),
    "blank": (lambda keyword, vr: b"    ", None),
    "zeros": (lambda keyword, vr: b"\0\0\0\0", b""),
    "too long": (_too_long, b"ISO_IR 100"),
    "of another form": (_of_another_form, b"ISO_IR 192"),
    "impossible": (_impossible, b"ISO_IR 192"),
    "control characters": (_control, b"ISO_IR 192"),
    "many values": (_twice, b"ISO_IR 192"),
    "every byte": (lambda keyword, vr: bytes(range(256)) * 3, b"ISO_IR 192"),
    **{_in(name): (_undecodable, name) for name in CHARACTER_SETS},
}


def errors(path: Path) -> list[str]:
    """What dciodvfy finds, without what it finds wrongly: it counts the bytes of a whole value, where PS3.5 section 6.2
    limits characters, of a person name those of each component group."""
    found = [line for line in dciodvfy(path) if not _is_short_enough(line)]
    return [] if all("invalid data values for Value Representations" in line for line in found) else found


def _is_short_enough(line: str) -> bool:
    said = re.search(r" (\w\w) \[\d+\] = <(.*)> - Length invalid for this VR = \d+, expected <= (\d+)$", line)
    groups = said[2].split("=") if said and said[1] == "PN" else [said[2]] if said else []
    return bool(said) and all(len(group) <= int(said[3]) for group in groups)
