"""What every object we write shares: identity from the source, our equipment, times, derived UIDs, encoding.

Of the normalised source header (``source``) the patient and study modules (PS3.3 C.7.1, C.7.2) are copied whole, and
nothing of the scanner's series or equipment. Dates and times come from the analysis, so that a rerun writes the same
bytes.
"""

from __future__ import annotations

import hashlib
from copy import deepcopy
from datetime import timedelta, timezone

from pydicom import DataElement, Dataset
from pydicom.datadict import dictionary_description
from pydicom.dataset import FileMetaDataset
from pydicom.uid import (
    UID,
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    EnhancedSRStorage,
    ExplicitVRLittleEndian,
    KeyObjectSelectionDocumentStorage,
)

from models.api import RESEARCH_USE_ONLY, ModelIdentity
from node.core.uids import PRODUCT_UID, derive
from node.results import character_sets, encoding
from node.results.elements import copied as copied  # of any header: the modules beside know these from here
from node.results.elements import received
from node.results.legal import LOST
from node.results.record import AnalysisRecord, BuiltObject
from node.results.references import hierarchy
from node.results.source import PATIENT, STUDY
from node.results.source import text_of as text_of

OUTPUT_SCHEMA = "10"  # any change of what is written for the same input raises it, and with it every UID
WHO = ("PatientID", "IssuerOfPatientID", "PatientName", "PatientBirthDate")
CHANGED = "Not legal DICOM in the source, and so not carried in the results as it stands there"
REQUEST_TYPE_2 = (
    "AccessionNumber", "PlacerOrderNumberImagingServiceRequest", "FillerOrderNumberImagingServiceRequest",
    "RequestedProcedureID", "RequestedProcedureDescription",
)  # fmt: skip
REQUEST = (
    *REQUEST_TYPE_2, "IssuerOfAccessionNumberSequence", "OrderPlacerIdentifierSequence",
    "OrderFillerIdentifierSequence", "RequestedProcedureCodeSequence", "ReasonForTheRequestedProcedure",
    "ReasonForRequestedProcedureCodeSequence",
)  # fmt: skip
DOCUMENTS = (  # their series have no Request Attributes (PS3.3 C.17.1, C.17.6.1): they refer to requests themselves
    Comprehensive3DSRStorage, ComprehensiveSRStorage, EnhancedSRStorage, KeyObjectSelectionDocumentStorage,
)  # fmt: skip


def changed(record: AnalysisRecord) -> tuple[str, ...]:
    """A sentence on what of the patient's identity had to be changed, left out or guessed; none of it is quoted."""
    header, source = record.reference, record.source
    names = [dictionary_description(keyword) for keyword in WHO if _is_changed(header, source, keyword)]
    if not names:
        return ()
    return (f"{CHANGED}: {', '.join(names)}.",)


def _is_changed(header: Dataset, source: Dataset, keyword: str) -> bool:
    came, written = received(header, keyword), text_of(source, keyword)
    if keyword == "PatientBirthDate":
        return bool(came) and not written  # the same date in other signs is no change
    guessed = not came.isascii() and not character_sets.is_declared(header)
    return came != written or LOST in written or guessed


def stamp(record: AnalysisRecord, source: Dataset) -> tuple[str, str]:
    """(DA, TM) of the analysis in the source's zone, the configured one, or UTC."""
    moment = record.started_at.astimezone(_zone(zone_text(record, source)))
    return moment.strftime("%Y%m%d"), moment.strftime("%H%M%S.%f")


def zone_text(record: AnalysisRecord, source: Dataset) -> str:
    """Timezone Offset From UTC (0008,0201) to write; empty for none."""
    return text_of(source, "TimezoneOffsetFromUTC") or record.settings.timezone


def _zone(text: str) -> timezone:
    try:
        sign = -1 if text[0] == "-" else 1
        return timezone(sign * timedelta(hours=int(text[1:3]), minutes=int(text[3:5])))
    except (IndexError, ValueError):
        return timezone(timedelta(0))


def identity(record: AnalysisRecord) -> tuple[str, ...]:
    """Everything besides pixels that decides the bytes: the parts of every derived UID."""
    models = sorted({f"{model.system} {model.version} {model.weights_sha256}" for model in _models(record)})
    settings = "|".join(str(value) for value in vars(record.settings).values())
    facts = (record.instance_set_digest, record.config_digest, record.software_version, OUTPUT_SCHEMA, settings)
    rest = [_refused(record), *(predecessor.sop_instance_uid for predecessor in record.predecessors)]
    rest += ["source character set"] if record.wanted.character_set == "source" else []
    return (text_of(record.reference, "StudyInstanceUID"), *facts, record.started_at.isoformat(), *models, *rest)


def _refused(record: AnalysisRecord) -> str:
    """Digest of what was not judged and why. A second attempt at the same images may differ in it: the one that gives
    up, or one at which our own results have come back from a PACS."""
    said = [record.reason, *(f"{left.sop_instance_uid} {left.reason}" for left in record.left_out)]
    said += [f"{refusal.system} {refusal.reason}" for refusal in record.refusals]
    return hashlib.sha256("\n".join(said).encode()).hexdigest()


def _models(record: AnalysisRecord) -> list[ModelIdentity]:
    """Every model that had a say."""
    found = [prediction.model for prediction in record.predictions]
    for image in record.images:
        found += [measured.model for measured in (*image.biomarkers, *image.indicators)]
        found += [field.model for field in (image.lungs, image.heart) if field]
    found += [series.lungs.model for series in record.series if series.lungs]
    return found


OFFSETS = {
    "sr": 0,
    "regions": 40,
    "page": 41,
    "seg": 42,
    "pr": 43,
    "ko": 44,
    "pm": 45,
    "rejection": 46,
    "film-seg": 47,
    "stack": 60,
}


def series_number(record: AnalysisRecord, kind: str) -> int:
    """Series Number (0020,0011) of a kind of object; heat maps take 1 to 39 by system, heat stacks 61 to 99."""
    return record.settings.series_number_base + OFFSETS[kind]


def series_uid(record: AnalysisRecord, kind: str) -> str:
    """One series for each study and kind of object, whatever the analysis: a newer report joins the older."""
    return derive("series", text_of(record.reference, "StudyInstanceUID"), kind)


def instance_uid(record: AnalysisRecord, kind: str, *index: str) -> str:
    return derive(kind, *identity(record), *index)


def predecessors(record: AnalysisRecord, kind: str) -> list[Dataset]:
    """Items of Predecessor Documents Sequence (0040,A360), PS3.3 Table C.17-2: the reports of this kind that this one
    takes the place of. Empty for a first report, which must not have the attribute."""
    found = [
        (earlier.series_instance_uid, earlier.sop_class_uid, earlier.sop_instance_uid)
        for earlier in record.predecessors
        if earlier.kind == kind
    ]
    return hierarchy(text_of(record.reference, "StudyInstanceUID"), found) if found else []


def document_number(record: AnalysisRecord, kind: str) -> int:
    """Instance Number (0020,0013) of a report: it counts up in the series that all versions share."""
    return 1 + max((earlier.instance_number for earlier in record.predecessors if earlier.kind == kind), default=0)


def tracking_uid(study_uid: str, sop_uid: str, system: str, number: int, frame: int = 0) -> str:
    """Tracking Unique Identifier (112040, DCM) of one lesion, stable over reruns. frame: of a multi-frame object."""
    return derive("tracking", study_uid, sop_uid, system, str(number), *([f"frame {frame}"] if frame else []))


def device_uid(record: AnalysisRecord) -> str:
    """Device UID (0018,1002) of the algorithms: another model is another device."""
    return derive("device", *sorted({model.weights_sha256 for model in _models(record)}))


def requests(source: Dataset) -> list[Dataset]:
    """Request Attributes of the source as items of Referenced Request Sequence (0040,A370), PS3.3 Table C.17-2."""
    return [_request(source, request) for request in source.get("RequestAttributesSequence", [])]


def _request(source: Dataset, request: Dataset) -> Dataset:
    item = copied(request, REQUEST)
    item.StudyInstanceUID, item.ReferencedStudySequence = source.StudyInstanceUID, []
    for keyword in REQUEST_TYPE_2:
        if keyword not in item:
            setattr(item, keyword, "")
    if not item.AccessionNumber:
        item.update(copied(source, ("AccessionNumber", "IssuerOfAccessionNumberSequence")))
    if "RequestedProcedureCodeSequence" not in item:
        item.RequestedProcedureCodeSequence = []
    return item


def finish(ds: Dataset, record: AnalysisRecord, source: Dataset, sop_class: str, uid: str, series: str) -> None:
    """Set on a data set what all our objects have in common, over whatever a library wrote."""
    day, time = stamp(record, source)
    character_sets.declare(ds, record)
    carried = (*PATIENT, *STUDY, *(() if sop_class in DOCUMENTS else ("RequestAttributesSequence",)))
    for keyword in carried:
        if keyword in source:
            ds.add(_own(source[keyword]))
    if zone := zone_text(record, source):
        ds.TimezoneOffsetFromUTC = zone
    ds.SOPClassUID, ds.SOPInstanceUID, ds.SeriesInstanceUID = UID(sop_class), UID(uid), UID(series)
    ds.InstanceCreatorUID = UID(PRODUCT_UID)
    ds.InstanceCreationDate, ds.InstanceCreationTime = day, time
    ds.ContentDate, ds.ContentTime = day, time
    for keyword in ("SeriesDate", "SeriesTime"):  # of the series, which later analyses of the study join
        ds.pop(keyword, None)
    ds.Manufacturer, ds.ManufacturerModelName = record.settings.manufacturer, record.settings.model_name
    ds.DeviceSerialNumber, ds.SoftwareVersions = record.settings.device_serial_number, record.software_version
    ds.ContentQualification = "RESEARCH"
    ds.ContributingEquipmentSequence = [_algorithms(record, day, time)]


def _own(element: DataElement) -> DataElement:
    """pydicom keeps in a name the bytes that it was first written as, and in a sequence what it stands in."""
    return deepcopy(element) if element.VR in ("PN", "SQ") else element


def _algorithms(record: AnalysisRecord, day: str, time: str) -> Dataset:
    """Contributing equipment: the processing software with a Device UID of its models."""
    item, purpose = Dataset(), Dataset()
    purpose.CodeValue, purpose.CodingSchemeDesignator = "109102", "DCM"
    purpose.CodeMeaning = "Processing Equipment"
    item.PurposeOfReferenceCodeSequence = [purpose]
    item.Manufacturer, item.ManufacturerModelName = record.settings.manufacturer, record.settings.model_name
    item.SoftwareVersions = record.software_version
    item.DeviceUID = UID(device_uid(record))
    item.ContributionDateTime = day + time
    item.ContributionDescription = RESEARCH_USE_ONLY
    return item


def encode(ds: Dataset, kind: str, syntax: UID = ExplicitVRLittleEndian) -> BuiltObject:
    """The Part 10 file; the pixel data is in ``syntax`` already. Raises ``UnencodableText`` where the character set of
    the source lacks some of the text."""
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
    ds.file_meta.TransferSyntaxUID = syntax
    ds.file_meta.ImplementationClassUID = UID(PRODUCT_UID)
    try:
        content = encoding.part10(ds)
    except (UnicodeError, LookupError) as error:
        raise character_sets.UnencodableText("some text is not of that character set") from error
    character_sets.verify(ds, content)
    return BuiltObject(kind, str(ds.SOPInstanceUID), str(ds.SOPClassUID), str(ds.SeriesInstanceUID), content)
