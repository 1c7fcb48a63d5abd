"""One attribute of a source header as our objects may carry it: its VR and number of values, and what sequences need.

A value that is damaged is mended or left out (``legal``). Of a sequence only items are kept that have what the
standard's macro asks of them, and of an item only what the macro names: whatever else stands there, private or not, is
the sender's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydicom import DataElement, Dataset
from pydicom.datadict import dictionary_VM, dictionary_VR, tag_for_keyword
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence

from node.results import legal


@dataclass(frozen=True)
class Macro:
    """Attributes of an item, and whether an item has all that it must have."""

    attributes: tuple[str, ...]
    is_complete: Callable[[Dataset], bool] = bool


def _has_code(item: Dataset) -> bool:
    value = "CodingSchemeDesignator" in item and ("CodeValue" in item or "LongCodeValue" in item)
    return "CodeMeaning" in item and (value or "URNCodeValue" in item)


def _has_issuer(item: Dataset) -> bool:
    return "LocalNamespaceEntityID" in item or "UniversalEntityID" in item


CODE = Macro(  # PS3.3 Table 8.8-1
    ("CodeValue", "LongCodeValue", "URNCodeValue", "CodingSchemeDesignator", "CodingSchemeVersion", "CodeMeaning"),
    _has_code,
)
ISSUER = Macro(("LocalNamespaceEntityID", "UniversalEntityID", "UniversalEntityIDType"), _has_issuer)  # Table 10-17
ISSUER_OF_PATIENT_ID = Macro(("UniversalEntityID", "UniversalEntityIDType", "IdentifierTypeCode"))  # Table 10-18
PERSON = Macro(  # PS3.3 Table 10-1
    ("PersonIdentificationCodeSequence", "PersonAddress", "PersonTelephoneNumbers", "InstitutionName",
     "InstitutionAddress", "InstitutionCodeSequence"),
    lambda item: "PersonIdentificationCodeSequence" in item
    and ("InstitutionName" in item or "InstitutionCodeSequence" in item),
)  # fmt: skip
REFERENCE = Macro(  # PS3.3 Table 10-11
    ("ReferencedSOPClassUID", "ReferencedSOPInstanceUID"), lambda item: len(item) == 2
)  # fmt: skip
REQUEST = Macro(  # PS3.3 Table 10-9, and the numbers of the order that many senders add
    ("RequestedProcedureID", "AccessionNumber", "IssuerOfAccessionNumberSequence", "ReferencedStudySequence",
     "StudyInstanceUID", "RequestedProcedureDescription", "RequestedProcedureCodeSequence",
     "ReasonForTheRequestedProcedure", "ReasonForRequestedProcedureCodeSequence", "ScheduledProcedureStepID",
     "ScheduledProcedureStepDescription", "ScheduledProtocolCodeSequence", "PlacerOrderNumberImagingServiceRequest",
     "FillerOrderNumberImagingServiceRequest", "OrderPlacerIdentifierSequence", "OrderFillerIdentifierSequence"),
)  # fmt: skip
OTHER_PATIENT_ID = Macro(  # PS3.3 Table C.7-1
    ("PatientID", "IssuerOfPatientID", "IssuerOfPatientIDQualifiersSequence", "TypeOfPatientID"),
    lambda item: "PatientID" in item,
)
SEQUENCES: Mapping[str, Macro] = {
    "DeidentificationMethodCodeSequence": CODE,
    "InstitutionCodeSequence": CODE,
    "IssuerOfAccessionNumberSequence": ISSUER,
    "IssuerOfAdmissionIDSequence": ISSUER,
    "IssuerOfPatientIDQualifiersSequence": ISSUER_OF_PATIENT_ID,
    "IssuerOfServiceEpisodeIDSequence": ISSUER,
    "OrderFillerIdentifierSequence": ISSUER,
    "OrderPlacerIdentifierSequence": ISSUER,
    "OtherPatientIDsSequence": OTHER_PATIENT_ID,
    "PersonIdentificationCodeSequence": CODE,
    "PhysiciansOfRecordIdentificationSequence": PERSON,
    "ProcedureCodeSequence": CODE,
    "ReasonForRequestedProcedureCodeSequence": CODE,
    "ReferencedStudySequence": REFERENCE,
    "ReferringPhysicianIdentificationSequence": PERSON,
    "RequestAttributesSequence": REQUEST,
    "RequestedProcedureCodeSequence": CODE,
    "ScheduledProtocolCodeSequence": CODE,
}
ONE_ITEM = frozenset(keyword for keyword in SEQUENCES if keyword.startswith(("Issuer", "Order", "Referring")))
TOGETHER = (("UniversalEntityID", "UniversalEntityIDType"),)  # both or neither
INSTEAD = (  # the first, without the others
    ("CodeValue", "LongCodeValue", "URNCodeValue"),
    ("LongCodeValue", "URNCodeValue"),
    ("InstitutionName", "InstitutionCodeSequence"),
)


def copied(header: Dataset, keywords: Iterable[str]) -> Dataset:
    """Those of the attributes that are there and can be understood, decoded and legal."""
    copy = Dataset()
    for keyword in keywords:
        element = _element(header, keyword)
        if element is not None:
            copy.add(element)
    return copy


def received(header: Dataset, keyword: str) -> str:
    """The decoded text as it came, without padding; empty where there is none that can be understood."""
    value = _value(header, keyword)
    given = list(value) if isinstance(value, (list, MultiValue)) else [] if value is None else [value]
    return "\\".join(str(one) for one in given).replace(legal.IR58_ESCAPE, "").strip(" \t\r\n\0")


def _element(header: Dataset, keyword: str) -> DataElement | None:
    tag = tag_for_keyword(keyword)
    value = _value(header, keyword)
    if tag is None or value is None:
        return None
    if keyword in SEQUENCES:
        items = _items(keyword, value) if isinstance(value, Sequence) else []
        return DataElement(tag, "SQ", Sequence(items)) if items else None
    if isinstance(value, Sequence):
        return None
    vr, given = dictionary_VR(tag), list(value) if isinstance(value, (list, MultiValue)) else [value]
    if vr in legal.FORMS and any(isinstance(one, bytes) for one in given):
        return None
    found = legal.values(keyword, vr, dictionary_VM(tag), given, salt=str(_value(header, "StudyInstanceUID")))
    return DataElement(tag, vr, found if len(found) > 1 else found[0]) if found else None


def _value(header: Dataset, keyword: str) -> Any:
    """None where it is absent, empty, or cannot be converted by pydicom."""
    try:
        element = header[keyword]
        return element.value if element.VM else None
    except Exception:  # noqa: BLE001 - as said
        return None


def _items(keyword: str, given: Iterable[Dataset]) -> list[Dataset]:
    macro = SEQUENCES[keyword]
    items = [_item(item, macro) for item in given]
    kept = [item for item in items if item is not None]
    return kept[:1] if keyword in ONE_ITEM else kept[: legal.MOST_VALUES]


def _item(given: Dataset, macro: Macro) -> Dataset | None:
    item = copied(given, macro.attributes)
    for one, other in TOGETHER:
        if one not in item or other not in item:
            item.pop(one, None)
            item.pop(other, None)
    if len(item.get("LongCodeValue", "")) <= legal.LONGEST["SH"]:
        item.pop("LongCodeValue", None)
    for keyword, *others in INSTEAD:
        if keyword in item:
            for other in others:
                item.pop(other, None)
    if macro is OTHER_PATIENT_ID and "TypeOfPatientID" not in item:
        item.TypeOfPatientID = "TEXT"  # type 1 there: what stands in a header is text
    return item if macro.is_complete(item) else None
