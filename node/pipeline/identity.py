"""Are these headers of one patient? One rule for selection, which refuses two, and delivery, which holds back a mix-up.

Patient ID and its issuer must be the same, empty ones included. Name and birth date must not contradict each other: one
that is missing contradicts nothing, and neither do case, padding or empty components of a name.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydicom import Dataset

from node.pipeline.header import text_of
from node.results.common import IR58_ESCAPE

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
    text = text_of(header, keyword)
    return text.replace(IR58_ESCAPE, "").strip("=^ ").casefold() if keyword == "PatientName" else text
