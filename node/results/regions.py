"""The report of regions, "AI regions": every focus so that OHIF draws it and takes it over as a measurement.

Planar regions alone (PS3.16 TID 1410), in a series of their own: that viewer stops at the first group without a region.
What else it asks of a group (read in and tried with OHIF 3.13, tests/viewers):
- a Tracking Unique Identifier of its own, else it merges groups and draws the first region alone. The outline has the
  identifier that the focus has in every other object; its centre has one derived from that.
- a Tracking Identifier that begins with the name of its tool;
- the region once more below every number, INFERRED FROM; of an outline the first number is taken for the area;
- a Comment, which becomes the label (TID 1410, $QualType as TEXT).
On oblong pixels it draws regions elsewhere (cornerstone3D issue 2758): foci on such images stand in the summary alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from highdicom import sr
from pydicom import Dataset

from models.api import ClassScore, Lesion
from node.core.uids import derive
from node.results import codes, common, document, foci, groups
from node.results.foci import Canvas, Place, Planar
from node.results.record import AnalysisRecord, BuiltObject
from node.results.references import spacing_of

TOOL = "Cornerstone3DTools@^0.1.0"
OUTLINE, POINT, RECTANGLE = f"{TOOL}:PlanarFreehandROI", f"{TOOL}:Probe", f"{TOOL}:RectangleROI"
DESCRIPTION = "AI regions (not for diagnosis)"
ELSEWHERE = "Foci on oblong pixels, where viewers misplace regions, are left to the summary"


def report(record: AnalysisRecord) -> Iterator[BuiltObject]:
    """The document, or none: where there is no region to show and no earlier document to take the place of.

    That a system looked and found nothing is said by the summary. Where there is an earlier document, viewers would go
    on showing its regions: it is withdrawn.
    """
    drawn = list(_groups(record)) or list(_withdrawal(record))
    if not drawn:
        return
    content: Dataset = sr.MeasurementReport(
        observation_context=document.observer(record),
        procedure_reported=document.procedures(record, record.source),
        imaging_measurements=[group for _, group in drawn],
    )[0]
    content.ContentSequence.append(document.limits())
    if left := sum(_is_oblong(canvas) for canvas, _ in foci.marked(record)):
        content.ContentSequence.append(_comment(f"{ELSEWHERE}: {left}."))
    images = {common.text_of(place.source, "SOPInstanceUID"): place.source for place, _ in drawn}
    how = ["whole images"] if record.wanted.whole_image_regions else []
    yield document.written(record, "regions", content, list(images.values()), *how, description=DESCRIPTION)


def _comment(text: str) -> sr.TextContentItem:
    return sr.TextContentItem(codes.COMMENT, text, relationship_type="CONTAINS")


def _groups(record: AnalysisRecord) -> Iterator[tuple[Place, Planar]]:
    for canvas, lesion in foci.marked(record):
        if _is_oblong(canvas):
            continue
        if lesion.outline_px:
            yield canvas, _outline(canvas, lesion)
        yield canvas, _centre(canvas, lesion)
    if record.wanted.whole_image_regions:
        for canvas, uid in ((canvas, uid) for canvas, uid in foci.canvases(record) if not _is_oblong(canvas)):
            yield from ((canvas, _whole(canvas, uid, score)) for score in canvas.prediction.scores)


def _is_oblong(canvas: Canvas) -> bool:
    """Whether taking the one spacing for the other shifts anything in the image by a pixel."""
    down, across = spacing_of(canvas.source)
    return abs(down / across - 1) * max(canvas.shape) > 1


def _outline(canvas: Canvas, lesion: Lesion) -> Planar:
    tracking = sr.TrackingIdentifier(foci.tracking_uid(canvas, lesion), f"{OUTLINE}:{_name(canvas, lesion)}")
    region = foci.region(canvas, "POLYLINE", lesion.outline_px)
    return _focus(canvas, lesion, tracking, region, _numbers(canvas, lesion))


def _centre(canvas: Canvas, lesion: Lesion) -> Planar:
    """Of an outlined focus it says little, since the viewer writes every number beside it."""
    uid, name = foci.tracking_uid(canvas, lesion), f"{POINT}:{_name(canvas, lesion)} centre"
    region = foci.region(canvas, "POINT", [lesion.centre_px])
    if not lesion.outline_px:
        return _focus(canvas, lesion, sr.TrackingIdentifier(uid, name), region, _numbers(canvas, lesion))
    heat = sr.Measurement(codes.PEAK_HEAT, round(float(lesion.peak_heat), 4), codes.NO_UNITS)
    return _focus(canvas, lesion, sr.TrackingIdentifier(derive("centre", uid), name), region, [heat])


def _name(canvas: Canvas, lesion: Lesion) -> str:
    return f"{canvas.system} focus {lesion.number}"


def _numbers(canvas: Canvas, lesion: Lesion) -> list[sr.Measurement]:
    return [
        sr.Measurement(codes.AREA, round(float(lesion.area_px), 1), codes.SQUARE_PIXELS),
        sr.Measurement(codes.CLASS_PROBABILITY, round(float(_explained(canvas).probability), 6), codes.NO_UNITS),
    ]


def _focus(
    canvas: Canvas, lesion: Lesion, tracking: sr.TrackingIdentifier, region: sr.ImageRegion,
    measurements: Sequence[sr.Measurement],
) -> Planar:  # fmt: skip
    explained, is_point = _explained(canvas), region.GraphicType == "POINT"
    group = Planar(
        tracking_identifier=tracking,
        referenced_region=region,
        finding_type=codes.VISUAL_EXPLANATION,
        algorithm_id=document.algorithm(canvas.prediction.model),
        finding_sites=None if is_point and lesion.outline_px else foci.site(lesion),
        geometric_purpose=codes.CENTRE if is_point else codes.OUTLINE,
        measurements=measurements,
        qualitative_evaluations=[sr.QualitativeEvaluation(codes.EXPLAINED_CLASS, codes.concept(explained.code))],
    )
    label = f"{_name(canvas, lesion)}: {explained.name}, p = {explained.probability:.2f} of the whole"
    return _for_viewers(group, region, label)


def _explained(canvas: Canvas) -> ClassScore:
    """The class whose heat made the foci."""
    prediction = canvas.prediction
    name = prediction.heat_class or prediction.decided_class
    return next(score for score in prediction.scores if score.name == name)


def _whole(canvas: Canvas, uid: str, score: ClassScore) -> Planar:
    """A class of the film or series, as the outer border of the image. ``uid``: of the film or series."""
    study, name = common.text_of(canvas.source, "StudyInstanceUID"), f"{canvas.system} {score.name}"
    region = foci.border(canvas)
    group = Planar(
        tracking_identifier=sr.TrackingIdentifier(groups.statement_uid(study, uid, name), f"{RECTANGLE}:{name}"),
        referenced_region=region,
        finding_type=codes.concept(score.code),
        algorithm_id=document.algorithm(canvas.prediction.model),
        measurements=[
            _area_of(canvas),
            sr.Measurement(codes.PROBABILITY, round(float(score.probability), 6), codes.NO_UNITS),
            sr.Measurement(codes.THRESHOLD, round(float(score.threshold), 6), codes.NO_UNITS),
        ],
        qualitative_evaluations=[
            sr.QualitativeEvaluation(codes.concept(score.code), codes.PRESENT if score.decision else codes.ABSENT)
        ],
    )
    said = "present" if score.decision else "absent"
    return _for_viewers(group, region, f"{name}: {said}, p = {score.probability:.2f}")


def _withdrawal(record: AnalysisRecord) -> Iterator[tuple[Place, Planar]]:
    """What takes the place of earlier regions where there is none: the whole image, and that they no longer hold.

    A document without any region would be the standard's way (TID 1500 row 12), but OHIF answers it with an error, and
    under another title with the words of the earlier document.
    """
    earlier = sum(predecessor.kind == "regions" for predecessor in record.predecessors)
    source = record.source
    if not earlier or not source.get("Rows") or not source.get("Columns"):
        return
    place = Place(source, (int(source.Rows), int(source.Columns)))
    region, uid = foci.border(place), derive("tracking", common.text_of(source, "StudyInstanceUID"), "no regions")
    group = Planar(
        tracking_identifier=sr.TrackingIdentifier(uid, f"{RECTANGLE}:no regions"),
        referenced_region=region,
        finding_type=codes.STUDY_SUMMARY,
        measurements=[_area_of(place), sr.Measurement(codes.WITHDRAWN, earlier, codes.REPORTS)],
        qualitative_evaluations=[sr.QualitativeEvaluation(codes.SUMMARY, document.outcome(record))],
    )
    yield place, _for_viewers(group, region, "This analysis draws no region; earlier ones no longer hold")


def _area_of(place: Place) -> sr.Measurement:
    return sr.Measurement(codes.AREA, place.shape[0] * place.shape[1], codes.SQUARE_PIXELS)


def _for_viewers(group: Planar, region: sr.ImageRegion, label: str) -> Planar:
    """Add what OHIF asks for and highdicom does not write: the label, and the region below every number."""
    image = region.ContentSequence[0]
    for item in group[0].ContentSequence:
        if item.ValueType == "NUM":
            again = sr.CoordinatesForMeasurement(region.GraphicType, region.value, image)
            item.ContentSequence = [*item.get("ContentSequence", ()), again]
    group[0].ContentSequence.append(_comment(label))
    return group
