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
from highdicom.sr.templates import DEFAULT_LANGUAGE
from pydicom import Dataset

from models.api import ClassScore, Lesion
from node.core.uids import derive
from node.results import codes, common, document, foci, groups
from node.results.foci import Canvas, Planar
from node.results.record import AnalysisRecord, BuiltObject

TOOL = "Cornerstone3DTools@^0.1.0"
OUTLINE, POINT, RECTANGLE = f"{TOOL}:PlanarFreehandROI", f"{TOOL}:Probe", f"{TOOL}:RectangleROI"
DESCRIPTION = "AI regions (not for diagnosis)"
ELSEWHERE = "Foci on oblong pixels, where viewers misplace regions, are left to the summary"


def report(record: AnalysisRecord) -> Iterator[BuiltObject]:
    """The document, or none: where there is no region to show and no earlier document to take the place of.

    That a system looked and found nothing is said by the summary; without an earlier one, a document of no regions
    would be one more empty series. With one, viewers would go on showing the regions of the earlier one.
    """
    drawn = list(_groups(record))
    if drawn:
        content = _content(record, [group for _, group in drawn])
    elif common.predecessors(record, "regions"):
        content = _without_regions(record)
    else:
        return
    content.ContentSequence.append(document.limits())
    if left := sum(_is_oblong(canvas) for canvas, _ in foci.marked(record)):
        content.ContentSequence.append(_comment(f"{ELSEWHERE}: {left}."))
    images = {common.text_of(canvas.source, "SOPInstanceUID"): canvas.source for canvas, _ in drawn}
    how = ["whole images"] if record.wanted.whole_image_regions else []
    yield document.written(record, "regions", content, list(images.values()), *how, description=DESCRIPTION)


def _content(record: AnalysisRecord, drawn: Sequence[Planar]) -> Dataset:
    content: Dataset = sr.MeasurementReport(
        observation_context=document.observer(record),
        procedure_reported=document.procedures(record, common.source_of(record.reference)),
        imaging_measurements=drawn,
    )[0]
    return content


def _without_regions(record: AnalysisRecord) -> Dataset:
    """TID 1500 without Imaging Measurements: Qualitative Evaluations (row 12) say what came of the analysis.

    Its title is one of our own (CID 7021 may be extended): OHIF shows such a report as text, and stops at one that is
    called Imaging Measurement Report and has no region.
    """
    root = sr.ContainerContentItem(name=codes.NO_REGIONS, template_id="1500")
    root.ContentSequence = sr.ContentSequence()
    root.ContentSequence.extend(sr.LanguageOfContentItemAndDescendants(DEFAULT_LANGUAGE))
    root.ContentSequence.extend(document.observer(record))
    for procedure in document.procedures(record, common.source_of(record.reference)):
        item = sr.CodeContentItem(codes.PROCEDURE_REPORTED, procedure, relationship_type="HAS CONCEPT MOD")
        root.ContentSequence.append(item)
    said = sr.ContainerContentItem(name=codes.QUALITATIVE_EVALUATIONS, relationship_type="CONTAINS")
    said.ContentSequence = sr.ContentSequence()
    said.ContentSequence.append(
        sr.CodeContentItem(codes.SUMMARY, document.outcome(record), relationship_type="CONTAINS")
    )  # fmt: skip
    said.ContentSequence.append(_comment("This analysis draws no region; those of earlier ones no longer hold."))
    root.ContentSequence.append(said)
    return root


def _comment(text: str) -> sr.TextContentItem:
    return sr.TextContentItem(codes.COMMENT, text, relationship_type="CONTAINS")


def _groups(record: AnalysisRecord) -> Iterator[tuple[Canvas, Planar]]:
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
    spacing = canvas.source.get("PixelSpacing") or canvas.source.get("ImagerPixelSpacing") or (1, 1)
    low, high = sorted(float(value) for value in spacing)
    return low > 0 and (high / low - 1) * max(canvas.shape) > 1


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
    rows, columns = canvas.shape
    right, bottom = columns - 0.5, rows - 0.5
    border = [[-0.5, -0.5], [right, -0.5], [right, bottom], [-0.5, bottom], [-0.5, -0.5]]
    region = foci.region(canvas, "POLYLINE", border)
    group = Planar(
        tracking_identifier=sr.TrackingIdentifier(groups.statement_uid(study, uid, name), f"{RECTANGLE}:{name}"),
        referenced_region=region,
        finding_type=codes.concept(score.code),
        algorithm_id=document.algorithm(canvas.prediction.model),
        measurements=[
            sr.Measurement(codes.AREA, rows * columns, codes.SQUARE_PIXELS),
            sr.Measurement(codes.PROBABILITY, round(float(score.probability), 6), codes.NO_UNITS),
            sr.Measurement(codes.THRESHOLD, round(float(score.threshold), 6), codes.NO_UNITS),
        ],
        qualitative_evaluations=[
            sr.QualitativeEvaluation(codes.concept(score.code), codes.PRESENT if score.decision else codes.ABSENT)
        ],
    )
    said = "present" if score.decision else "absent"
    return _for_viewers(group, region, f"{name}: {said}, p = {score.probability:.2f}")


def _for_viewers(group: Planar, region: sr.ImageRegion, label: str) -> Planar:
    """Add what OHIF asks for and highdicom does not write: the label, and the region below every number."""
    image = region.ContentSequence[0]
    for item in group[0].ContentSequence:
        if item.ValueType == "NUM":
            again = sr.CoordinatesForMeasurement(region.GraphicType, region.value, image)
            item.ContentSequence = [*item.get("ContentSequence", ()), again]
    group[0].ContentSequence.append(_comment(label))
    return group
