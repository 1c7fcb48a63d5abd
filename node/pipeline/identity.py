"""Are these headers of one patient? One rule for selection, which refuses two, and delivery, which holds back a mix-up.

Patient ID and its issuer must be the same, empty ones included. Name and birth date must not contradict each other: one
that is missing contradicts nothing, and neither do case, padding or empty components of a name. What a destination
answers is held against a header by the same rule, but that it may know no issuer and write a name in fewer alphabets.
Where a source's name or birth date is not legal, results carry it mended, and what the destination has of it is mended
before it is compared. A Patient ID that had to be changed is another one to a destination that has it as it was.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from pydicom import Dataset

from node.pipeline.header import text_of
from node.results.legal import IR58_ESCAPE, values

STRICT = ("PatientID", "IssuerOfPatientID")
IF_GIVEN = ("PatientName", "PatientBirthDate")
COMPARED = (*STRICT, *IF_GIVEN)
LOST = "?\ufffd"  # what a peer may write for a letter that its character set lacks; some write nothing


@dataclass(frozen=True)
class Patient:
    """As whom a destination knows a study; texts as decoded, empty where it does not say."""

    patient_id: str
    issuer: str
    name: str
    birth_date: str


@dataclass(frozen=True)
class Known:
    """What a destination says of a study. patients: none where it is unknown there. problem: why it did not say."""

    patients: tuple[Patient, ...] = ()
    problem: str = ""


def contradiction(headers: Sequence[Dataset]) -> str:
    """The keyword in which the headers name different patients; empty when they may all be of one."""
    for keyword in STRICT:
        if len({_text(header, keyword) for header in headers}) > 1:
            return keyword
    for keyword in IF_GIVEN:
        if len({_text(header, keyword) for header in headers} - {""}) > 1:
            return keyword
    return ""


def difference(header: Dataset, known: Patient) -> str:
    """The keyword in which a destination's patient is another than the header's; empty when they may be one."""
    if _text(header, "PatientID") != known.patient_id.strip():
        return "PatientID"
    issuer, day = _text(header, "IssuerOfPatientID"), _text(header, "PatientBirthDate")
    if issuer and known.issuer.strip() not in ("", issuer):
        return "IssuerOfPatientID"
    names = zip(_groups(text_of(header, "PatientName")), _groups(_mended("PatientName", known.name)), strict=False)
    if any(ours and theirs and not _may_be(ours, theirs) for ours, theirs in names):
        return "PatientName"
    return "PatientBirthDate" if day and _mended("PatientBirthDate", known.birth_date) not in ("", day) else ""


def _mended(keyword: str, text: str) -> str:
    """As a result would carry it; as it is where it would carry nothing."""
    found = values(keyword, "DA" if keyword == "PatientBirthDate" else "PN", "1", [text])
    return str(found[0]) if found else text.strip()


def _text(header: Dataset, keyword: str) -> str:
    text = text_of(header, keyword)
    return _plain(text) if keyword == "PatientName" else text


def _plain(name: str) -> str:
    return name.replace(IR58_ESCAPE, "").strip("=^ ").casefold()


def _groups(name: str) -> list[str]:
    """Component groups of a person name (PS3.5 section 6.2.1): alphabetic, ideographic, phonetic."""
    kept = "".join(letter for letter in unicodedata.normalize("NFC", name) if letter not in LOST)
    return [_plain(group) for group in kept.split("=")]


def _may_be(ours: str, theirs: str) -> bool:
    """Whether ``theirs`` is ``ours`` with letters that are not ASCII lost on the way, or both differ in accents."""
    return _is_left_of(theirs, ours) or _bare(theirs) == _bare(ours)


def _is_left_of(theirs: str, ours: str) -> bool:
    place = 0
    for letter in ours:
        if theirs[place : place + 1] == letter:
            place += 1
        elif letter.isascii():
            return False
    return place == len(theirs)


def _bare(name: str) -> str:
    letters = unicodedata.normalize("NFD", name)
    return "".join(letter for letter in letters if not unicodedata.combining(letter))
