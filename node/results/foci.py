"""The foci that systems marked on films and on key slices, as planar regions of a report (PS3.16 TID 1410).

Points of SCOORD items count from the corner of the first pixel (PS3.3 C.18.6.1.2), ours from its centre: half a pixel
is added.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from highdicom import sr
from numpy.typing import ArrayLike
from pydicom import Dataset

from models.api import Lesion, Prediction
from node.results import codes, common, document
from node.results.record import AnalysisRecord
from node.results.references import frame_of, frames_of

Planar = sr.PlanarROIMeasurementsAndQualitativeEvaluations


@dataclass(frozen=True)
class Place:
    """A film or a slice. source: normalised header; shape: (rows, columns)."""

    source: Dataset
    shape: tuple[int, int]


@dataclass(frozen=True)
class Canvas(Place):
    """What one system marked foci on."""

    prediction: Prediction

    @property
    def system(self) -> str:
        return self.prediction.model.system


def marked(record: AnalysisRecord) -> Iterator[tuple[Canvas, Lesion]]:
    """Every focus of every system: those of the films, then those of the series."""
    for image in record.images:
        for prediction in image.predictions:
            canvas = Canvas(image.source, image.image.shape, prediction)
            yield from ((canvas, lesion) for lesion in prediction.lesions)
    for outcome in record.series:
        rows, columns = outcome.volume.voxels.shape[1:]
        for prediction in outcome.predictions:
            for found in (found for found in prediction.slices if found.lesions):
                canvas = Canvas(outcome.sources[found.index], (rows, columns), prediction)
                yield from ((canvas, lesion) for lesion in found.lesions)


def canvases(record: AnalysisRecord) -> Iterator[tuple[Canvas, str]]:
    """Each system's film, and of a series its first key slice, else the middle one; with the UID of film or series."""
    for image in record.images:
        for prediction in image.predictions:
            yield Canvas(image.source, image.image.shape, prediction), common.text_of(image.source, "SOPInstanceUID")
    for outcome in record.series:
        rows, columns = outcome.volume.voxels.shape[1:]
        for prediction in outcome.predictions:
            keys = outcome.key_slices(prediction)
            source = outcome.sources[keys[0].index if keys else len(outcome.sources) // 2]
            yield Canvas(source, (rows, columns), prediction), outcome.volume.uid


def border(place: Place) -> sr.ImageRegion:
    """The image as a whole."""
    rows, columns = place.shape
    right, bottom = columns - 0.5, rows - 0.5
    return region(place, "POLYLINE", [[-0.5, -0.5], [right, -0.5], [right, bottom], [-0.5, bottom], [-0.5, -0.5]])


def groups(canvas: Canvas, lesion: Lesion) -> Iterator[Planar]:
    """The centre with its measurements; the outline, where there is one, under the same tracking identifier."""
    yield _centre(canvas, lesion)
    if lesion.outline_px:
        yield _outline(canvas, lesion)


def name(canvas: Canvas, lesion: Lesion) -> str:
    """Tracking Identifier (112039, DCM): for people, the same in every object that shows this focus."""
    return f"{canvas.system} focus {lesion.number}"


def tracking_uid(canvas: Canvas, lesion: Lesion) -> str:
    """The same in every object that shows this focus."""
    study, image = (common.text_of(canvas.source, keyword) for keyword in ("StudyInstanceUID", "SOPInstanceUID"))
    return common.tracking_uid(study, image, canvas.system, lesion.number, frame_of(canvas.source))


def site(lesion: Lesion) -> list[sr.FindingSite]:
    """Never none: 3D Slicer shows no outline of a report in which one has no site (QuantitativeReporting)."""
    return [sr.FindingSite(codes.LUNG if lesion.inside_lung else codes.CHEST)]


def region(place: Place, kind: str, points: ArrayLike) -> sr.ImageRegion:
    """``points`` (n, 2) of x, y; kept inside the image, since highdicom does not look."""
    image = place.source
    source = sr.SourceImageForRegion(image.SOPClassUID, image.SOPInstanceUID, frames_of(image))
    return sr.ImageRegion(graphic_type=kind, graphic_data=_inside(place, kind, points), source_image=source)


def _inside(place: Place, kind: str, points: ArrayLike) -> np.ndarray:
    rows, columns = place.shape
    inside = np.clip(np.asarray(points, np.float64) + 0.5, 0, (columns, rows))
    if kind == "POLYLINE":
        inside[-1] = inside[0]
    return inside


def _tracking(canvas: Canvas, lesion: Lesion) -> sr.TrackingIdentifier:
    return sr.TrackingIdentifier(tracking_uid(canvas, lesion), name(canvas, lesion))


def _centre(canvas: Canvas, lesion: Lesion) -> Planar:
    x, y = lesion.centre_px
    return Planar(
        tracking_identifier=_tracking(canvas, lesion),
        referenced_region=region(canvas, "POINT", [[x, y]]),
        finding_type=codes.VISUAL_EXPLANATION,
        algorithm_id=document.algorithm(canvas.prediction.model),
        finding_sites=site(lesion),
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


def _outline(canvas: Canvas, lesion: Lesion) -> Planar:
    return Planar(
        tracking_identifier=_tracking(canvas, lesion),
        referenced_region=region(canvas, "POLYLINE", lesion.outline_px),
        finding_type=codes.VISUAL_EXPLANATION,
        algorithm_id=document.algorithm(canvas.prediction.model),
        finding_sites=site(lesion),
        geometric_purpose=codes.OUTLINE,
    )
