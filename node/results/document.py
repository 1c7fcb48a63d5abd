"""What our SR documents share: who observed, what was examined and came of it, the requests, the Comprehensive 3D SR
around the content (PS3.3 A.35.13, PS3.16 TID 1500). What a document says is for ``sr`` and ``regions``.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from highdicom import sr
from pydicom import Dataset
from pydicom.uid import (
    UID,
    Comprehensive3DSRStorage,
    CTImageStorage,
    EnhancedCTImageStorage,
    LegacyConvertedEnhancedCTImageStorage,
)

from models.api import RESEARCH_USE_ONLY, ModelIdentity
from node.core.settings import Results
from node.core.uids import PRODUCT_UID
from node.results import codes, common
from node.results.record import AnalysisRecord, BuiltObject
from node.results.references import hierarchy, one_for_each_object

CT = (CTImageStorage, EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage)
NOTHING_FOUND = ("normal", "non_covid")  # classes that name no disease


def written(
    record: AnalysisRecord, kind: str, content: Dataset, evidence: Sequence[Dataset], *index: str, description: str
) -> BuiltObject:
    """The finished document. content: root container; evidence: normalised headers of every image it speaks of.

    index: what besides the record decides the bytes.
    """
    _separate(content)
    ds = begun(record, kind, Comprehensive3DSRStorage, content, evidence or [record.source], *index)
    ds.Modality, ds.SeriesDescription = "SR", description
    ds.CompletionFlag, ds.VerificationFlag, ds.PreliminaryFlag = "COMPLETE", "UNVERIFIED", "PRELIMINARY"
    ds.PerformedProcedureCodeSequence = []
    ds.CodingSchemeIdentificationSequence = [_private_scheme(record)]
    if earlier := common.predecessors(record, kind):
        ds.PredecessorDocumentsSequence = earlier
    return common.encode(ds, kind)


def begun(
    record: AnalysisRecord, kind: str, sop_class: UID, content: Dataset, evidence: Sequence[Dataset], *index: str
) -> Dataset:
    """What an SR and a Key Object Selection have alike around their content (PS3.3 C.17.2, C.17.6.2).

    Written here, since highdicom's classes copy the content and walk through it five times, half of a report's time.
    """
    ds = Dataset()
    ds.update(content)
    uid, series = common.instance_uid(record, kind, *index), common.series_uid(record, kind)
    common.finish(ds, record, record.source, sop_class, uid, series)
    ds.SeriesNumber, ds.InstanceNumber = common.series_number(record, kind), common.document_number(record, kind)
    shown = [(str(one.SeriesInstanceUID), one.SOPClassUID, one.SOPInstanceUID) for one in one_for_each_object(evidence)]
    ds.CurrentRequestedProcedureEvidenceSequence = hierarchy(record.source.StudyInstanceUID, shown)
    if asked := common.requests(record.source):
        ds.ReferencedRequestSequence = asked
    ds.ReferencedPerformedProcedureStepSequence = []
    return ds


@cache
def limits() -> sr.TextContentItem:
    """Stands at the top level of every document."""
    said = f"{RESEARCH_USE_ONLY}. Made by software without review. Foci mark where a model looked."
    return sr.TextContentItem(name=codes.LIMITS, value=said, relationship_type="CONTAINS")


def procedures(record: AnalysisRecord, source: Dataset) -> list[sr.CodedConcept]:
    """What was analysed; where nothing was, what the study is by its first image."""
    if not record.images and not record.series:
        is_ct = source.get("SOPClassUID") in CT
        return [codes.CHEST_CT if is_ct else codes.CHEST_XRAY]
    return [*([codes.CHEST_XRAY] if record.images else ()), *([codes.CHEST_CT] if record.series else ())]


def observer(record: AnalysisRecord) -> sr.ObservationContext:
    return _observer(record.settings, record.software_version)


@cache  # like what follows, made once: it holds nothing of a patient and is the same in document after document
def _observer(settings: Results, version: str) -> sr.ObservationContext:
    device = sr.DeviceObserverIdentifyingAttributes(
        uid=PRODUCT_UID,
        name=settings.model_name,
        manufacturer_name=settings.manufacturer,
        model_name=f"{settings.model_name} {version}",
        serial_number=settings.device_serial_number,
    )
    who = sr.ObserverContext(sr.CodedConcept("121007", "DCM", "Device"), device)
    return sr.ObservationContext(observer_device_context=who)


@cache
def algorithm(model: ModelIdentity) -> sr.AlgorithmIdentification:
    """TID 4019."""
    return sr.AlgorithmIdentification(
        name=model.name,
        version=model.version,
        parameters=[
            f"system {model.system}",
            f"weights sha256 {model.weights_sha256}",
            *([model.source] if model.source else ()),
        ],
        family=codes.ARTIFICIAL_INTELLIGENCE,
    )


def outcome(record: AnalysisRecord) -> sr.CodedConcept:
    """What came of the analysis as a whole."""
    if not record.predictions:
        return codes.NONE_SUCCEEDED
    failed = any(not refusal.nothing_to_judge for refusal in record.refusals)
    found = any(p.decided_class not in NOTHING_FOUND for p in record.predictions)
    if failed:
        return codes.SOME_FAILED_WITH_FINDINGS if found else codes.SOME_FAILED_WITHOUT_FINDINGS
    return codes.SUCCEEDED_WITH_FINDINGS if found else codes.SUCCEEDED_WITHOUT_FINDINGS


def _separate(item: Dataset) -> None:
    """CONTINUOUS containers make readers drop the names of what they contain: a probability without a label."""
    if item.ValueType == "CONTAINER":
        item.ContinuityOfContent = "SEPARATE"
    for child in item.get("ContentSequence", []):
        _separate(child)


def _private_scheme(record: AnalysisRecord) -> Dataset:
    item = Dataset()
    item.CodingSchemeDesignator = codes.PRIVATE
    item.CodingSchemeName = "Private concepts of lungnode"
    item.CodingSchemeResponsibleOrganization = record.settings.manufacturer
    return item
