"""Measurement groups of the report (PS3.16 TID 1501, TID 1410): classes, numbers and foci of films and of CT series.

Points of SCOORD items count from the corner of the first pixel (PS3.3 C.18.6.1.2), ours from its centre: half a pixel
is added. A value predicted from an image has a concept name of its own, never that of a laboratory's measurement.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from highdicom import sr
from pydicom import Dataset

from models.api import ClassScore, Lesion, ModelIdentity, Prediction, Quantity
from node.core.uids import derive
from node.results import codes, common
from node.results.record import AnalysisRecord, ImageOutcome, SeriesOutcome, judged_slices

Group = sr.MeasurementsAndQualitativeEvaluations | sr.PlanarROIMeasurementsAndQualitativeEvaluations


@dataclass(frozen=True)
class _Subject:
    """What a statement is about. uid: of the film or of the series. images: the film, or the key slices."""

    study: str
    uid: str
    images: tuple[Dataset, ...]


@dataclass(frozen=True)
class _Canvas:
    """Where one model marked foci: a film or a slice. source: normalised header; shape: (rows, columns)."""

    source: Dataset
    shape: tuple[int, int]
    model: ModelIdentity


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
    for image in record.images:
        for prediction in image.predictions:
            canvas = _Canvas(common.source_of(image.header), image.image.shape, prediction.model)
            yield from _lesion_groups(canvas, prediction.lesions)
    for outcome in record.series:
        for prediction in outcome.predictions:
            yield from _slice_lesion_groups(outcome, prediction)


def _film(image: ImageOutcome) -> _Subject:
    source = common.source_of(image.header)
    return _Subject(
        common.text_of(source, "StudyInstanceUID"), common.text_of(source, "SOPInstanceUID"), (source,)
    )  # fmt: skip


def _series(outcome: SeriesOutcome, prediction: Prediction) -> _Subject:
    keys = tuple(common.source_of(outcome.headers[found.index]) for found in outcome.key_slices(prediction))
    return _Subject(common.text_of(outcome.headers[0], "StudyInstanceUID"), outcome.volume.uid, keys)


def _class_groups(prediction: Prediction, subject: _Subject) -> Iterator[Group]:
    for score in prediction.scores:
        yield _class_group(prediction, score, subject)


def _class_group(prediction: Prediction, score: ClassScore, subject: _Subject) -> Group:
    """One class of one system: probability, threshold, present or absent."""
    measurements = [
        sr.Measurement(codes.PROBABILITY, round(float(score.probability), 6), codes.NO_UNITS),
        sr.Measurement(codes.THRESHOLD, round(float(score.threshold), 6), codes.NO_UNITS),
    ]
    if judged := len(judged_slices(prediction)):
        measurements.append(sr.Measurement(codes.SLICES_JUDGED, judged, codes.SLICES))
    return sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=_identifier(subject, f"{prediction.model.system} {score.name}"),
        finding_type=codes.concept(score.code),
        algorithm_id=algorithm(prediction.model),
        measurements=measurements,
        qualitative_evaluations=[
            sr.QualitativeEvaluation(codes.concept(score.code), codes.PRESENT if score.decision else codes.ABSENT)
        ],
        source_images=_images(subject),
    )


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
        algorithm_id=algorithm(model),
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
    return sr.TrackingIdentifier(derive("tracking", subject.study, subject.uid, name), name)


def _images(subject: _Subject) -> list[sr.SourceImageForMeasurementGroup] | None:
    return [sr.SourceImageForMeasurementGroup(ds.SOPClassUID, ds.SOPInstanceUID) for ds in subject.images] or None


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


def _slice_lesion_groups(outcome: SeriesOutcome, prediction: Prediction) -> Iterator[Group]:
    rows, columns = outcome.volume.voxels.shape[1:]
    for found in prediction.slices:
        if found.lesions:
            source = common.source_of(outcome.headers[found.index])
            yield from _lesion_groups(_Canvas(source, (rows, columns), prediction.model), found.lesions)


def _lesion_groups(canvas: _Canvas, lesions: Sequence[Lesion]) -> Iterator[Group]:
    for lesion in lesions:
        yield _lesion_group(canvas, lesion)
        if lesion.outline_px:
            yield _outline_group(canvas, lesion)


def _tracking(canvas: _Canvas, lesion: Lesion) -> sr.TrackingIdentifier:
    study, image = (common.text_of(canvas.source, keyword) for keyword in ("StudyInstanceUID", "SOPInstanceUID"))
    uid = common.tracking_uid(study, image, canvas.model.system, lesion.number)
    return sr.TrackingIdentifier(uid, f"{canvas.model.system} focus {lesion.number}")


def _lesion_group(canvas: _Canvas, lesion: Lesion) -> Group:
    """The centre of a cluster of heat as a point, with its measurements."""
    x, y = lesion.centre_px
    return sr.PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracking(canvas, lesion),
        referenced_region=_region(canvas, "POINT", np.array([[x, y]])),
        finding_type=codes.VISUAL_EXPLANATION,
        algorithm_id=algorithm(canvas.model),
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


def _outline_group(canvas: _Canvas, lesion: Lesion) -> Group:
    """The outline of the same cluster, under the same tracking identifier."""
    return sr.PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracking(canvas, lesion),
        referenced_region=_region(canvas, "POLYLINE", np.array(lesion.outline_px)),
        finding_type=codes.VISUAL_EXPLANATION,
        algorithm_id=algorithm(canvas.model),
        geometric_purpose=codes.OUTLINE,
    )


def _region(canvas: _Canvas, kind: str, points: np.ndarray) -> sr.ImageRegion:
    """``points`` (n, 2) of x, y; kept inside the image, since highdicom does not look."""
    rows, columns = canvas.shape
    inside = np.clip(points + 0.5, 0, (columns, rows))
    if kind == "POLYLINE":
        inside[-1] = inside[0]
    return sr.ImageRegion(
        graphic_type=kind,
        graphic_data=inside.astype(np.float64),
        source_image=sr.SourceImageForRegion(canvas.source.SOPClassUID, canvas.source.SOPInstanceUID),
    )
