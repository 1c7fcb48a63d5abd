"""The report: a Comprehensive 3D SR, TID 1500 (PS3.16), one for each analysis, also for one that was refused.

Order of groups: the study's summary, then classes and numbers system by system, then foci (``groups``). Sentences for
people stand at the top level.
"""

from __future__ import annotations

from collections.abc import Iterable

from highdicom import sr
from pydicom import Dataset

from models.api import Prediction, SliceFinding
from node.core.uids import derive
from node.results import codes, common, document
from node.results.groups import Group, groups
from node.results.record import AnalysisRecord, BuiltObject, LeftOut, SeriesOutcome, judged_slices
from node.results.references import frame_of, one_for_each_object

LONGEST_TEXT = 1024
LISTED = 50  # sentences on what was left out
TOP_SLICES = 5  # slices of a series that the text names
PREDICTED_ONLY = "These values are predicted from the image by a model; no laboratory measured them."


def report(record: AnalysisRecord) -> BuiltObject:
    """The SR of one analysis."""
    source = record.source
    content = sr.MeasurementReport(
        observation_context=document.observer(record),
        procedure_reported=document.procedures(record, source),
        imaging_measurements=[_summary(record, source), *groups(record)],
    )
    _say(content[0], record)
    return document.written(
        record, "sr", content[0], _evidence(record), description="AI summary (not for diagnosis)"
    )  # fmt: skip


def _evidence(record: AnalysisRecord) -> list[Dataset]:
    """Every film and every slice that was analysed."""
    slices = one_for_each_object(source for outcome in record.series for source in outcome.sources)
    return [*(image.source for image in record.images), *slices]


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
        qualitative_evaluations=[sr.QualitativeEvaluation(codes.SUMMARY, document.outcome(record))],
    )


def _say(root: Dataset, record: AnalysisRecord) -> None:
    """Sentences for people, at the top level of the report."""
    root.ContentSequence.append(document.limits())
    sentences = [f"Not analysed: {record.reason}"] if record.reason else []
    sentences += [*common.changed(record), *_remarks(record)]
    about = _left_out_sentences(record.left_out)
    sentences += about[:LISTED]
    if len(about) > LISTED:
        more = sum(len(images) for images in _by_series_and_reason(record.left_out)[LISTED:])
        sentences.append(f"{more} more images were left out.")
    for text in sentences:
        item = sr.TextContentItem(name=codes.COMMENT, value=text[:LONGEST_TEXT], relationship_type="CONTAINS")
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
    source = outcome.sources[found.index]
    number, frame = common.text_of(source, "InstanceNumber"), frame_of(source)
    image = f", frame {frame}" if frame else f", image number {number}" if number else ""
    return f"slice {found.index + 1}{image}"
