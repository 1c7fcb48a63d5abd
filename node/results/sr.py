"""The report: a Comprehensive 3D SR, TID 1500 (PS3.16), one for each analysis, also for one that was refused.

Order of groups: the study's summary, then each image's classes system by system, then lesions. Points of SCOORD items
count from the corner of the first pixel (PS3.3 C.18.6.1.2), ours from its centre: half a pixel is added.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from highdicom import sr
from pydicom import Dataset
from pydicom.uid import Comprehensive3DSRStorage

from models.api import RESEARCH_USE_ONLY, ClassScore, Lesion, ModelIdentity, Prediction
from node.core.uids import PRODUCT_UID, derive
from node.results import codes, common
from node.results.record import AnalysisRecord, BuiltObject, ImageOutcome

Group = sr.MeasurementsAndQualitativeEvaluations | sr.PlanarROIMeasurementsAndQualitativeEvaluations
LONGEST_TEXT = 1024
LISTED = 50  # images left out that the text names one by one


def report(record: AnalysisRecord) -> BuiltObject:
    """The SR of one analysis."""
    source = common.source_of(record.reference)
    evidence = [common.source_of(outcome.header) for outcome in record.images] or [source]
    groups = [_summary(record, source), *_class_groups(record), *_lesion_groups(record)]
    content = sr.MeasurementReport(
        observation_context=_observer(record), procedure_reported=codes.CHEST_XRAY, imaging_measurements=groups
    )
    _say(content[0], record)
    _separate(content[0])
    uid = common.instance_uid(record, "sr")
    ds = sr.Comprehensive3DSR(
        evidence=evidence,
        content=content[0],
        series_instance_uid=common.series_uid(record, "sr"),
        series_number=record.settings.series_number_base,
        sop_instance_uid=uid,
        instance_number=1,
        manufacturer=record.settings.manufacturer,
        is_complete=True,
        requested_procedures=_requests(record, source) or None,
    )
    common.finish(ds, record, source, Comprehensive3DSRStorage, uid, common.series_uid(record, "sr"))
    ds.SeriesDescription = "AI summary (not for diagnosis)"
    ds.CodingSchemeIdentificationSequence = [_private_scheme(record)]
    return common.encode(ds, "sr")


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
            sr.Measurement(codes.USED, len(record.images), codes.COUNT),
            sr.Measurement(codes.LEFT_OUT, len(record.left_out), codes.COUNT),
        ],
        qualitative_evaluations=[sr.QualitativeEvaluation(codes.SUMMARY, _outcome(record))],
    )


def _outcome(record: AnalysisRecord) -> sr.CodedConcept:
    predictions = [p for image in record.images for p in image.predictions]
    if not predictions:
        return codes.NONE_SUCCEEDED
    failed = any(image.refusals for image in record.images)
    found = any(p.decided_class != "normal" for p in predictions)
    if failed:
        return codes.SOME_FAILED_WITH_FINDINGS if found else codes.SOME_FAILED_WITHOUT_FINDINGS
    return codes.SUCCEEDED_WITH_FINDINGS if found else codes.SUCCEEDED_WITHOUT_FINDINGS


def _class_groups(record: AnalysisRecord) -> Iterable[Group]:
    for image in record.images:
        source = common.source_of(image.header)
        for prediction in image.predictions:
            for score in prediction.scores:
                yield _class_group(source, prediction, score)


def _class_group(source: Dataset, prediction: Prediction, score: ClassScore) -> Group:
    """One class of one system on one image: probability, threshold, present or absent."""
    study, image = common.text_of(source, "StudyInstanceUID"), common.text_of(source, "SOPInstanceUID")
    name = f"{prediction.model.system} {score.name}"
    return sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(derive("tracking", study, image, name), name),
        finding_type=codes.concept(score.code),
        algorithm_id=algorithm(prediction.model),
        measurements=[
            sr.Measurement(codes.PROBABILITY, round(float(score.probability), 6), codes.NO_UNITS),
            sr.Measurement(codes.THRESHOLD, float(score.threshold), codes.NO_UNITS),
        ],
        qualitative_evaluations=[
            sr.QualitativeEvaluation(codes.concept(score.code), codes.PRESENT if score.decision else codes.ABSENT)
        ],
        source_images=[sr.SourceImageForMeasurementGroup(source.SOPClassUID, source.SOPInstanceUID)],
    )


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


def _lesion_groups(record: AnalysisRecord) -> Iterable[Group]:
    for image in record.images:
        source = common.source_of(image.header)
        for prediction in image.predictions:
            for lesion in prediction.lesions:
                yield _lesion_group(source, prediction, lesion, image)
                if lesion.outline_px:
                    yield _outline_group(source, prediction, lesion, image)


def _tracking(source: Dataset, prediction: Prediction, lesion: Lesion) -> sr.TrackingIdentifier:
    study, image = common.text_of(source, "StudyInstanceUID"), common.text_of(source, "SOPInstanceUID")
    uid = common.tracking_uid(study, image, prediction.model.system, lesion.number)
    return sr.TrackingIdentifier(uid, f"{prediction.model.system} focus {lesion.number}")


def _lesion_group(source: Dataset, prediction: Prediction, lesion: Lesion, image: ImageOutcome) -> Group:
    """The centre of a cluster of heat as a point, with its measurements."""
    x, y = lesion.centre_px
    region = _region(source, "POINT", np.array([[x, y]]), image)
    return sr.PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracking(source, prediction, lesion),
        referenced_region=region,
        finding_type=codes.VISUAL_EXPLANATION,
        algorithm_id=algorithm(prediction.model),
        finding_sites=[sr.FindingSite(codes.LUNG)] if lesion.inside_lung else None,
        geometric_purpose=codes.CENTRE,
        measurements=[
            sr.Measurement(codes.CENTRE_X, round(float(x), 3), codes.PIXELS),
            sr.Measurement(codes.CENTRE_Y, round(float(y), 3), codes.PIXELS),
            sr.Measurement(codes.AREA, round(float(lesion.area_px), 1), codes.SQUARE_PIXELS),
            sr.Measurement(codes.PEAK_HEAT, round(float(lesion.peak_heat), 4), codes.NO_UNITS),
            sr.Measurement(codes.LUNG_SHARE, round(float(lesion.lung_share), 4), codes.NO_UNITS),
            sr.Measurement(codes.DBSCAN_SIZE, lesion.dbscan_size, codes.NO_UNITS),
            sr.Measurement(codes.MAJOR_AXIS, round(float(lesion.axis_lengths_px[0]), 2), codes.PIXELS),
            sr.Measurement(codes.MINOR_AXIS, round(float(lesion.axis_lengths_px[1]), 2), codes.PIXELS),
        ],
    )


def _outline_group(source: Dataset, prediction: Prediction, lesion: Lesion, image: ImageOutcome) -> Group:
    """The outline of the same cluster, under the same tracking identifier."""
    return sr.PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracking(source, prediction, lesion),
        referenced_region=_region(source, "POLYLINE", np.array(lesion.outline_px), image),
        finding_type=codes.VISUAL_EXPLANATION,
        algorithm_id=algorithm(prediction.model),
        geometric_purpose=codes.OUTLINE,
    )


def _region(source: Dataset, kind: str, points: np.ndarray, image: ImageOutcome) -> sr.ImageRegion:
    """``points`` (n, 2) of x, y; kept inside the image, since highdicom does not look."""
    rows, columns = image.image.shape
    inside = np.clip(points + 0.5, 0, (columns, rows))
    if kind == "POLYLINE":
        inside[-1] = inside[0]
    return sr.ImageRegion(
        graphic_type=kind,
        graphic_data=inside.astype(np.float64),
        source_image=sr.SourceImageForRegion(source.SOPClassUID, source.SOPInstanceUID),
    )


def _say(root: Dataset, record: AnalysisRecord) -> None:
    """Sentences for people, at the top level of the report."""
    limits = f"{RESEARCH_USE_ONLY}. Made by software without review. Foci mark where a model looked."
    sentences = [(codes.LIMITS, limits)]
    if record.reason:
        sentences.append((codes.COMMENT, f"Not analysed: {record.reason}"))
    sentences += [(codes.COMMENT, text) for text in _remarks(record)]
    for number, left in enumerate(record.left_out):
        if number < LISTED:
            sentences.append((codes.COMMENT, f"Image {left.sop_instance_uid} left out: {left.reason}"))
    if len(record.left_out) > LISTED:
        sentences.append((codes.COMMENT, f"{len(record.left_out) - LISTED} more images were left out."))
    for name, text in sentences:
        item = sr.TextContentItem(name=name, value=text[:LONGEST_TEXT], relationship_type="CONTAINS")
        root.ContentSequence.append(item)


def _remarks(record: AnalysisRecord) -> Iterable[str]:
    for image in record.images:
        for refusal in image.refusals:
            yield f"{refusal.system} did not judge the image: {refusal.reason}"
        for note in image.lungs.notes if image.lungs else ():
            yield note
        for prediction in image.predictions:
            for note in prediction.notes:
                yield f"{prediction.model.system}: {note}"


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
