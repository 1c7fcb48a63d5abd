"""The normalised copy of a source header: what results are built from.

Missing type 2 attributes become empty, what is illegal is mended or left out (``elements``, ``legal``), text is
decoded. A record makes each copy once and everything that is built of it reads the same one: nobody writes to it.
"""

from __future__ import annotations

import re

from pydicom import Dataset

from node.results.elements import copied

PATIENT = (
    "PatientName", "PatientID", "IssuerOfPatientID", "IssuerOfPatientIDQualifiersSequence", "TypeOfPatientID",
    "PatientBirthDate", "PatientBirthTime", "PatientSex", "OtherPatientIDs", "OtherPatientIDsSequence",
    "OtherPatientNames", "PatientAge", "PatientSize", "PatientWeight", "EthnicGroup", "PatientComments",
    "PatientIdentityRemoved", "DeidentificationMethod", "DeidentificationMethodCodeSequence", "AdmissionID",
    "IssuerOfAdmissionIDSequence", "ServiceEpisodeID", "IssuerOfServiceEpisodeIDSequence",
)  # fmt: skip
STUDY = (
    "StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "AccessionNumber", "IssuerOfAccessionNumberSequence",
    "ReferringPhysicianName", "ReferringPhysicianIdentificationSequence", "PhysiciansOfRecord",
    "PhysiciansOfRecordIdentificationSequence", "RequestingService", "StudyDescription", "ProcedureCodeSequence",
    "TimezoneOffsetFromUTC",
)  # fmt: skip
IMAGE = (
    "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "Modality", "Rows", "Columns", "PatientOrientation",
    "PixelSpacing", "ImagerPixelSpacing", "PixelAspectRatio", "BurnedInAnnotation", "InstanceNumber",
    "SeriesNumber", "RequestAttributesSequence", "FrameOfReferenceUID", "Manufacturer", "ManufacturerModelName",
    "ImagePositionPatient", "ImageOrientationPatient", "ReferencedFrameNumber",
)  # fmt: skip
TYPE_2 = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID",
    "AccessionNumber", "ReferringPhysicianName",
)  # fmt: skip
ZONE = re.compile(r"(?!-0000)[+-](0\d|1[0-4])[0-5]\d")  # Timezone Offset From UTC, PS3.3 C.12.1.1.8


def source_of(header: Dataset) -> Dataset:
    """Never the original itself."""
    copy = copied(header, (*PATIENT, *STUDY, *IMAGE))
    for keyword in TYPE_2:
        if keyword not in copy:
            setattr(copy, keyword, "")
    if not ZONE.fullmatch(text_of(copy, "TimezoneOffsetFromUTC")):
        copy.pop("TimezoneOffsetFromUTC", None)
    return copy


def text_of(source: Dataset, keyword: str) -> str:
    return str(source.get(keyword, "") or "")
