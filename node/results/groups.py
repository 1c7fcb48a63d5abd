"""Measurement groups of the report (PS3.16 TID 1501): classes and numbers of films and of CT series, then their foci.

A value predicted from an image has a concept name of its own, never that of a laboratory's measurement.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from highdicom import sr
from pydicom import Dataset

from models.api import ClassScore, Code, ModelIdentity, Prediction, Quantity
from node.core.uids import derive
from node.results import codes, common, document, foci
from node.results.record import AnalysisRecord, ImageOutcome, SeriesOutcome, judged_slices
from node.results.references import frames_of

Group = sr.MeasurementsAndQualitativeEvaluations | foci.Planar


@dataclass(frozen=True)
class _Subject:
    """What a statement is about. uid: of the film or of the series. images: the film, or the key slices."""

    study: str
    uid: str
    images: tuple[Dataset, ...]


def groups(record: AnalysisRecord) -> Iterator[Group]:
    """Classes and numbers image by image and series by series; then the foci of all."""
    for image in record.images:
        subject = _film(image)
        for prediction in image.predictions:
            yield from _class_groups(prediction, subject)
        yield from _number_groups(image, subject)
    for outcome in record.series:
        for prediction in outcome.predictions:
            yield from _class_groups(prediction, _series(outcome, prediction))
    for canvas, lesion in foci.marked(record):
        yield from foci.groups(canvas, lesion)


def _film(image: ImageOutcome) -> _Subject:
    study, uid = (common.text_of(image.source, keyword) for keyword in ("StudyInstanceUID", "SOPInstanceUID"))
    return _Subject(study, uid, (image.source,))


def _series(outcome: SeriesOutcome, prediction: Prediction) -> _Subject:
    keys = tuple(outcome.sources[found.index] for found in outcome.key_slices(prediction))
    return _Subject(common.text_of(outcome.headers[0], "StudyInstanceUID"), outcome.volume.uid, keys)


def _class_groups(prediction: Prediction, subject: _Subject) -> Iterator[Group]:
    for score in prediction.scores:
        yield _class_group(prediction, score, subject)


def _class_group(prediction: Prediction, score: ClassScore, subject: _Subject) -> Group:
    """One class of one system: probability, threshold, present or absent."""
    measurements = [
        sr.Measurement(codes.PROBABILITY, round(float(score.probability), 6), codes.NO_UNITS),
        _threshold(score.threshold),
    ]
    if judged := len(judged_slices(prediction)):
        measurements.append(sr.Measurement(codes.SLICES_JUDGED, judged, codes.SLICES))
    return sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=_identifier(subject, f"{prediction.model.system} {score.name}"),
        finding_type=codes.concept(score.code),
        algorithm_id=document.algorithm(prediction.model),
        measurements=measurements,
        qualitative_evaluations=[_evaluation(score.code, score.decision)],
        source_images=_images(subject),
    )


@cache  # like what follows, made once: it holds nothing of a patient and is the same in document after document
def _threshold(value: float) -> sr.Measurement:
    return sr.Measurement(codes.THRESHOLD, round(float(value), 6), codes.NO_UNITS)


@cache
def _evaluation(code: Code, is_present: bool) -> sr.QualitativeEvaluation:
    return sr.QualitativeEvaluation(codes.concept(code), codes.PRESENT if is_present else codes.ABSENT)


def _number_groups(image: ImageOutcome, subject: _Subject) -> Iterator[Group]:
    """Biomarkers measured in the lung field, and values that systems predicted from the foci."""
    for measured in image.biomarkers:
        if measured.quantities:
            yield _number_group(subject, measured.model, codes.BIOMARKERS, measured.quantities)
    for measured in image.indicators:
        if measured.quantities:
            yield _number_group(subject, measured.model, codes.PREDICTED, measured.quantities)


def _number_group(
    subject: _Subject, model: ModelIdentity, kind: sr.CodedConcept, quantities: Sequence[Quantity]
) -> Group:
    return sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=_identifier(subject, f"{model.system} {kind.value}"),
        finding_type=kind,
        algorithm_id=document.algorithm(model),
        measurements=[
            sr.Measurement(
                codes.concept(quantity.kind.code),
                round(float(quantity.value), 6),
                sr.CodedConcept(quantity.kind.unit, "UCUM", quantity.kind.unit),
            )
            for quantity in quantities
        ],
        source_images=_images(subject),
    )


def _identifier(subject: _Subject, name: str) -> sr.TrackingIdentifier:
    return sr.TrackingIdentifier(statement_uid(subject.study, subject.uid, name), name)


def statement_uid(study: str, uid: str, name: str) -> str:
    """Tracking Unique Identifier of what is said of a film or series as a whole."""
    return derive("tracking", study, uid, name)


def _images(subject: _Subject) -> list[sr.SourceImageForMeasurementGroup] | None:
    found = subject.images
    return [sr.SourceImageForMeasurementGroup(ds.SOPClassUID, ds.SOPInstanceUID, frames_of(ds)) for ds in found] or None
