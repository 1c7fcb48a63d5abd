"""The character set of what we write: UTF-8, or that of the source for a destination that asks for it.

Objects are built from decoded text, so only the declaration and the last step, the encoding, differ. A set other than
UTF-8 is trusted only after what was written has been read back and is the same text: pydicom writes ISO 2022 IR 58
without its escape sequences, puts question marks for what a set lacks, and lets Latin-1 pass where no set is declared.
"""

from __future__ import annotations

import io

from pydicom import DataElement, Dataset, dcmread
from pydicom.multival import MultiValue

from node.results.record import AnalysisRecord

UTF_8 = "ISO_IR 192"
SINGLE = frozenset(  # Defined Terms without code extensions, PS3.3 Tables C.12-2 and C.12-5
    (*(f"ISO_IR {number}" for number in (13, 100, 101, 109, 110, 126, 127, 138, 144, 148, 166, 192)), "GB18030", "GBK")
)
EXTENDED = frozenset(  # and with them, PS3.3 Tables C.12-3 and C.12-4
    f"ISO 2022 IR {number}" for number in (6, 13, 58, 87, 100, 101, 109, 110, 126, 127, 138, 144, 148, 149, 159, 166)
)
DEFAULT = ("", "ISO_IR 6")  # the default repertoire; the second is not legal and common
TEXT = ("LO", "LT", "PN", "SH", "ST", "UC", "UT")  # VRs that the character set concerns, PS3.5 section 6.1.2.2


class UnencodableText(ValueError):
    """Some text of the study cannot be written in the study's own character set."""


def declare(ds: Dataset, record: AnalysisRecord) -> None:
    """Write Specific Character Set (0008,0005) as ``record.wanted`` asks for; absent for the default repertoire."""
    terms = (UTF_8,) if record.wanted.character_set == "utf-8" else of_source(record.reference)
    if terms:
        ds.SpecificCharacterSet = list(terms) if len(terms) > 1 else terms[0]
    elif "SpecificCharacterSet" in ds:
        del ds.SpecificCharacterSet


def is_declared(header: Dataset) -> bool:
    """Whether a header names a set that is known; the default repertoire is ASCII alone."""
    return bool(set(_terms(header)) & (SINGLE | EXTENDED - {"ISO 2022 IR 6"}))


def of_source(header: Dataset) -> tuple[str, ...]:
    """The Defined Terms of a header as received; empty for the default repertoire."""
    terms = _terms(header)
    if len(terms) == 1 and terms[0] in DEFAULT:
        return ()
    if len(terms) == 1 and terms[0] in SINGLE:
        return terms
    if len(terms) > 1 and terms[0] in EXTENDED | {""} and set(terms[1:]) <= EXTENDED:
        return terms
    raise UnencodableText("its Specific Character Set is none of the standard's")


def _terms(header: Dataset) -> tuple[str, ...]:
    value = header.get("SpecificCharacterSet") or ""
    return tuple(str(term) for term in value) if isinstance(value, (list, MultiValue)) else (str(value),)


def verify(ds: Dataset, content: bytes) -> None:
    """Raise ``UnencodableText`` unless the file ``content`` holds the very text of ``ds``."""
    if ds.get("SpecificCharacterSet") != UTF_8:
        _compare(ds, dcmread(io.BytesIO(content)), ascii_only="SpecificCharacterSet" not in ds)


def _compare(ds: Dataset, written: Dataset, ascii_only: bool) -> None:
    for element in ds:
        if element.VR == "SQ":
            for item, other in zip(element.value, written[element.tag].value, strict=True):
                _compare(item, other, ascii_only)
        elif element.VR in TEXT:
            said, read = _plain(element), _plain(written[element.tag])
            if said != read or "\x1b" in "".join(said) or (ascii_only and not "".join(said).isascii()):
                raise UnencodableText(f"the text of {element.keyword or element.tag} is not of that character set")


def _plain(element: DataElement) -> tuple[str, ...]:
    """Values without padding; of names without empty components, which readers drop."""
    if element.VM == 0 or element.value is None:
        return ()
    values = element.value if element.VM > 1 else [element.value]
    return tuple(str(value).rstrip("=^ \0" if element.VR == "PN" else " \0") for value in values)
