"""The report: a Comprehensive 3D SR, TID 1500 (PS3.16), one for each analysis, also for one that was refused.

Order of groups: the study's summary, then classes and numbers system by system, then foci (``groups``). Sentences for
people stand at the top level.
"""

from __future__ import annotations

from collections.abc import Iterable

from highdicom import sr
from pydicom import Dataset
from pydicom.uid import Comprehensive3DSRStorage, CTImageStorage

from models.api import RESEARCH_USE_ONLY, Prediction, SliceFinding
from node.core.uids import PRODUCT_UID, derive
from node.results import codes, common
from node.results.groups import Group, groups
from node.results.record import AnalysisRecord, BuiltObject, LeftOut, SeriesOutcome, judged_slices

LONGEST_TEXT = 1024
LISTED = 50  # sentences on what was left out
NOTHING_FOUND = ("normal", "non_covid")  # classes that name no disease
TOP_SLICES = 5  # slices of a series that the text names
PREDICTED_ONLY = "These values are predicted from the image by a model; no laboratory measured them."


def report(record: AnalysisRecord) -> BuiltObject:
    """The SR of one analysis."""
    source = common.source_of(record.reference)
    content = sr.MeasurementReport(
        observation_context=_observer(record),
        procedure_reported=_procedures(record, source),
        imaging_measurements=[_summary(record, source), *groups(record)],
    )
    _say(content[0], record)
    _separate(content[0])
    uid = common.instance_uid(record, "sr")
    ds = sr.Comprehensive3DSR(
        evidence=_evidence(record) or [source],
        content=content[0],
        series_instance_uid=common.series_uid(record, "sr"),
        series_number=common.series_number(record, "sr"),
        sop_instance_uid=uid,
        instance_number=common.document_number(record, "sr"),
        manufacturer=record.settings.manufacturer,
        is_complete=True,
        requested_procedures=_requests(record, source) or None,
    )
    common.finish(ds, record, source, Comprehensive3DSRStorage, uid, common.series_uid(record, "sr"))
    ds.SeriesDescription = "AI summary (not for diagnosis)"
    ds.CodingSchemeIdentificationSequence = [_private_scheme(record)]
    if earlier := common.predecessors(record, "sr"):
        ds.PredecessorDocumentsSequence = earlier
    return common.encode(ds, "sr")


def _procedures(record: AnalysisRecord, source: Dataset) -> list[sr.CodedConcept]:
    """What was analysed; where nothing was, what the study is by its first image."""
    if not record.images and not record.series:
        is_ct = source.get("SOPClassUID") == CTImageStorage
        return [codes.CHEST_CT if is_ct else codes.CHEST_XRAY]
    return [*([codes.CHEST_XRAY] if record.images else ()), *([codes.CHEST_CT] if record.series else ())]


def _evidence(record: AnalysisRecord) -> list[Dataset]:
    """Every film and every slice that was analysed."""
    slices = [header for outcome in record.series for header in outcome.headers]
    return [common.source_of(header) for header in (*(image.header for image in record.images), *slices)]


def _observer(record: AnalysisRecord) -> sr.ObservationContext:
    device = sr.DeviceObserverIdentifyingAttributes(
        uid=PRODUCT_UID,
        name=record.settings.model_name,
        manufacturer_name=record.settings.manufacturer,
        model_name=f"{record.settings.model_name} {record.software_version}",
        serial_number=record.settings.device_serial_number,
    )
    who = sr.ObserverContext(sr.CodedConcept("121007", "DCM", "Device"), device)
    return sr.ObservationContext(observer_device_context=who)


def _summary(record: AnalysisRecord, source: Dataset) -> Group:
    """What became of the analysis as a whole, with the number of instances used and left out."""
    study = common.text_of(source, "StudyInstanceUID")
    return sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(derive("tracking", study, "summary"), "Analysis"),
        finding_type=codes.STUDY_SUMMARY,
        measurements=[
            sr.Measurement(codes.USED, record.instances_used, codes.COUNT),
            sr.Measurement(codes.LEFT_OUT, len(record.left_out), codes.COUNT),
        ],
        qualitative_evaluations=[sr.QualitativeEvaluation(codes.SUMMARY, _outcome(record))],
    )


def _outcome(record: AnalysisRecord) -> sr.CodedConcept:
    if not record.predictions:
        return codes.NONE_SUCCEEDED
    failed = any(not refusal.nothing_to_judge for refusal in record.refusals)
    found = any(p.decided_class not in NOTHING_FOUND for p in record.predictions)
    if failed:
        return codes.SOME_FAILED_WITH_FINDINGS if found else codes.SOME_FAILED_WITHOUT_FINDINGS
    return codes.SUCCEEDED_WITH_FINDINGS if found else codes.SUCCEEDED_WITHOUT_FINDINGS


def _say(root: Dataset, record: AnalysisRecord) -> None:
    """Sentences for people, at the top level of the report."""
    limits = f"{RESEARCH_USE_ONLY}. Made by software without review. Foci mark where a model looked."
    sentences = [(codes.LIMITS, limits)]
    if record.reason:
        sentences.append((codes.COMMENT, f"Not analysed: {record.reason}"))
    sentences += [(codes.COMMENT, text) for text in _remarks(record)]
    about = _left_out_sentences(record.left_out)
    sentences += [(codes.COMMENT, text) for text in about[:LISTED]]
    if len(about) > LISTED:
        more = sum(len(images) for images in _by_series_and_reason(record.left_out)[LISTED:])
        sentences.append((codes.COMMENT, f"{more} more images were left out."))
    for name, text in sentences:
        item = sr.TextContentItem(name=name, value=text[:LONGEST_TEXT], relationship_type="CONTAINS")
        root.ContentSequence.append(item)


def _by_series_and_reason(left_out: Iterable[LeftOut]) -> list[list[LeftOut]]:
    found: dict[tuple[str, str], list[LeftOut]] = {}
    for left in left_out:
        found.setdefault((left.series_uid, left.reason), []).append(left)
    return list(found.values())


def _left_out_sentences(left_out: Iterable[LeftOut]) -> list[str]:
    """One for an image, one for all images of a series that share a reason."""
    return [
        f"Image {images[0].sop_instance_uid} left out: {images[0].reason}"
        if len(images) == 1
        else f"{len(images)} images of series {images[0].series_uid} left out: {images[0].reason}"
        for images in _by_series_and_reason(left_out)
    ]


def _remarks(record: AnalysisRecord) -> Iterable[str]:
    for image in record.images:
        yield from image.lungs.notes if image.lungs else ()
        for measured in image.biomarkers:
            yield from (f"{measured.model.system}: {note}" for note in measured.notes)
        for measured in image.indicators:
            yield f"{measured.model.system}: {PREDICTED_ONLY}"
            yield from (f"{measured.model.system}: {note}" for note in measured.notes)
    for outcome in record.series:
        yield from outcome.notes
        yield from (
            _slices_sentence(outcome, prediction) for prediction in outcome.predictions if judged_slices(prediction)
        )
    for what, outcomes in (("image", record.images), ("series", record.series)):
        for refusal in (refusal for outcome in outcomes for refusal in outcome.refusals):
            yield f"{refusal.system} did not judge the {what}: {refusal.reason}"
    for prediction in record.predictions:
        yield from (f"{prediction.model.system}: {note}" for note in prediction.notes)


def _slices_sentence(outcome: SeriesOutcome, prediction: Prediction) -> str:
    """How many slices were judged, and which speak most for the class that the system explains."""
    name = prediction.heat_class or prediction.decided_class
    place = next(n for n, score in enumerate(prediction.scores) if score.name == name)

    def probability(found: SliceFinding) -> float:
        return found.probabilities[place]

    top = sorted(prediction.slices, key=lambda found: (-probability(found), found.index))[:TOP_SLICES]
    listed = ", ".join(f"{_slice_name(outcome, found)} (p = {probability(found):.2f})" for found in top)
    judged = f"{prediction.model.system} judged {len(prediction.slices)} of {len(outcome.headers)} slices"
    return f"{judged}; highest for {name}, counted from the feet: {listed}."


def _slice_name(outcome: SeriesOutcome, found: SliceFinding) -> str:
    number = common.text_of(common.source_of(outcome.headers[found.index]), "InstanceNumber")
    return f"slice {found.index + 1}" + (f", image number {number}" if number else "")


def _separate(item: Dataset) -> None:
    """CONTINUOUS containers make readers drop the names of what they contain: a probability without a label."""
    if item.ValueType == "CONTAINER":
        item.ContinuityOfContent = "SEPARATE"
    for child in item.get("ContentSequence", []):
        _separate(child)


def _requests(record: AnalysisRecord, source: Dataset) -> list[Dataset]:
    """Request Attributes of the source as Referenced Request items (0040,A370)."""
    found = []
    for request in source.get("RequestAttributesSequence", []):
        item = Dataset()
        item.StudyInstanceUID, item.ReferencedStudySequence = source.StudyInstanceUID, []
        item.AccessionNumber = request.get("AccessionNumber", "") or source.AccessionNumber
        item.PlacerOrderNumberImagingServiceRequest = request.get("PlacerOrderNumberImagingServiceRequest", "")
        item.FillerOrderNumberImagingServiceRequest = request.get("FillerOrderNumberImagingServiceRequest", "")
        item.RequestedProcedureID = request.get("RequestedProcedureID", "")
        item.RequestedProcedureDescription = request.get("RequestedProcedureDescription", "")
        item.RequestedProcedureCodeSequence = request.get("RequestedProcedureCodeSequence", [])
        found.append(item)
    return found


def _private_scheme(record: AnalysisRecord) -> Dataset:
    item = Dataset()
    item.CodingSchemeDesignator = codes.PRIVATE
    item.CodingSchemeName = "Private concepts of lungnode"
    item.CodingSchemeResponsibleOrganization = record.settings.manufacturer
    return item
