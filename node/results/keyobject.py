"""A Key Object Selection (PS3.3 A.35.4, PS3.16 TID 2010, title "Of Interest"): where a reader should look first.

One for each analysis in which a system decided a class of disease; none otherwise. It names the films and the key
slices that those systems judged, and our pictures of their heat where the destination is sent them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from highdicom.ko import KeyObjectSelection
from highdicom.sr import (
    CodedConcept,
    ContainerContentItem,
    ContentItem,
    ContentSequence,
    ImageContentItem,
    TextContentItem,
)
from pydicom import Dataset
from pydicom.uid import KeyObjectSelectionDocumentStorage, SecondaryCaptureImageStorage

from models.api import RESEARCH_USE_ONLY, Prediction
from node.results import codes, common, document, sc
from node.results.record import AnalysisRecord, BuiltObject, SeriesOutcome
from node.results.references import frame_of

OF_INTEREST = CodedConcept("113000", "DCM", "Of Interest")  # CID 7010
DESCRIPTION = CodedConcept("113012", "DCM", "Key Object Description")
SOURCE = CodedConcept("260753009", "SCT", "Source")
WHY = "Chosen by software without review, where a model decided a class of disease."
LONGEST_TEXT = 1024
SERIES = {"ko": "AI key images (not for diagnosis)", "rejection": "AI results replaced (not for diagnosis)"}


@dataclass(frozen=True)
class _Chosen:
    """An object to look at. ``image``: its identifiers, as evidence. ``frame``: 0 for the object as a whole."""

    image: Dataset
    purpose: CodedConcept
    frame: int = 0


def selection(record: AnalysisRecord) -> Iterator[BuiltObject]:
    chosen = list(_chosen(record))
    if chosen:
        yield _document(record, chosen)


def of_interest(prediction: Prediction) -> bool:
    return prediction.decided_class not in document.NOTHING_FOUND


def _chosen(record: AnalysisRecord) -> Iterator[_Chosen]:
    """Film by film, then slice by slice: the image, then the pictures of it."""
    for image in record.images:
        found = [prediction for prediction in image.predictions if of_interest(prediction)]
        if found:
            yield _source(image.source)
            explained = [prediction for prediction in found if prediction.heat is not None]
            yield from _heat_maps(record, image.source, explained)
    for outcome in record.series:
        yield from _slices(record, outcome)


def _slices(record: AnalysisRecord, outcome: SeriesOutcome) -> Iterator[_Chosen]:
    """The key slices of the systems that decided a disease, from the feet."""
    found = [prediction for prediction in outcome.predictions if of_interest(prediction)]
    for index in sorted({key.index for prediction in found for key in outcome.key_slices(prediction)}):
        source = outcome.sources[index]
        yield _source(source)
        explained = [p for p in found if any(s.index == index and s.key for s in p.slices)]
        yield from _heat_maps(record, source, explained)


def _source(source: Dataset) -> _Chosen:
    return _Chosen(source, SOURCE, frame_of(source))


def _heat_maps(record: AnalysisRecord, source: Dataset, explained: list[Prediction]) -> Iterator[_Chosen]:
    if "heat-maps" not in record.wanted.kinds:
        return
    for prediction in explained:
        picture = Dataset()
        picture.StudyInstanceUID, picture.SOPClassUID = source.StudyInstanceUID, SecondaryCaptureImageStorage
        picture.SOPInstanceUID, picture.SeriesInstanceUID = sc.uids(record, source, prediction.model.system)
        yield _Chosen(picture, codes.VISUAL_EXPLANATION)


def _document(record: AnalysisRecord, chosen: list[_Chosen]) -> BuiltObject:
    evidence = {str(item.image.SOPInstanceUID): item.image for item in chosen}
    uids = [f"{item.image.SOPInstanceUID}/{item.frame}" for item in chosen]
    references = _references(chosen)
    return document_of(
        record, "ko", list(evidence.values()), content(record, OF_INTEREST, _text(record), references), uids
    )


def document_of(
    record: AnalysisRecord, kind: str, evidence: list[Dataset], said: KeyObjectSelection, names: list[str]
) -> BuiltObject:
    """A document of the series of its kind. evidence: identifiers of what it names; names: what its UID comes from."""
    ds = document.begun(record, kind, KeyObjectSelectionDocumentStorage, said[0], evidence, *names)
    ds.Modality, ds.SeriesDescription = "KO", SERIES[kind]
    return common.encode(ds, kind)


def content(
    record: AnalysisRecord, title: CodedConcept, text: str, references: Iterable[ContentItem]
) -> KeyObjectSelection:
    """PS3.16 TID 2010."""
    root = ContainerContentItem(title, is_content_continuous=False, template_id="2010")
    words = TextContentItem(DESCRIPTION, text[:LONGEST_TEXT], "CONTAINS")
    root.ContentSequence = ContentSequence([*document.observer(record), words, *references])
    return KeyObjectSelection.from_sequence([root])


def _references(chosen: list[_Chosen]) -> Iterator[ImageContentItem]:
    """An item for each object, with the frames of it."""
    frames: dict[str, list[int]] = {}
    for item in chosen:
        frames.setdefault(str(item.image.SOPInstanceUID), []).extend([item.frame] if item.frame else [])
    first = {str(item.image.SOPInstanceUID): item for item in reversed(chosen)}
    for uid, numbers in frames.items():
        yield ImageContentItem(
            first[uid].purpose,
            first[uid].image.SOPClassUID,
            uid,
            referenced_frame_numbers=numbers or None,
            relationship_type="CONTAINS",
        )


def _text(record: AnalysisRecord) -> str:
    said = [f"{RESEARCH_USE_ONLY}. {WHY}"]
    said += _sentences("film", [image.predictions for image in record.images])
    said += _sentences("series", [outcome.predictions for outcome in record.series])
    return " ".join(said)


def _sentences(what: str, predictions: Sequence[Sequence[Prediction]]) -> Iterator[str]:
    """predictions: of each film or series."""
    for number, judged in enumerate(predictions, start=1):
        place = f"{what} {number}" if len(predictions) > 1 else f"the {what}"
        if found := [_decision(prediction) for prediction in judged if of_interest(prediction)]:
            yield f"In {place}: {', '.join(found)}."


def _decision(prediction: Prediction) -> str:
    decided = next(score for score in prediction.scores if score.name == prediction.decided_class)
    return f"{prediction.model.system} {prediction.model.version} {decided.name} (p = {decided.probability:.2f})"
