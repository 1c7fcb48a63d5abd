"""Are these headers of one patient? One rule for selection, which refuses two, and delivery, which holds back a mix-up.

Patient ID and its issuer must be the same, empty ones included. Name and birth date must not contradict each other: one
that is missing contradicts nothing, and neither do case, padding or empty components of a name.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydicom import Dataset

STRICT = ("PatientID", "IssuerOfPatientID")
IF_GIVEN = ("PatientName", "PatientBirthDate")


def contradiction(headers: Sequence[Dataset]) -> str:
    """The keyword in which the headers name different patients; empty when they may all be of one."""
    for keyword in STRICT:
        if len({_text(header, keyword) for header in headers}) > 1:
            return keyword
    for keyword in IF_GIVEN:
        if len({_text(header, keyword) for header in headers} - {""}) > 1:
            return keyword
    return ""


def _text(header: Dataset, keyword: str) -> str:
    try:
        value = header.get(keyword)
    except Exception:  # noqa: BLE001 - a value pydicom cannot convert counts as absent
        return ""
    text = "" if value is None else str(value)
    return text.replace("\x1b$)A", "").strip("\0 =^").casefold() if keyword == "PatientName" else text.strip("\0 ")
