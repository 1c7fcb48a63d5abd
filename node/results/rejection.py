"""A Rejection Note (IHE RAD TF-1 37, Imaging Object Change Management; PS3.16 CID 7010): older pictures are withdrawn.

Reports name their predecessors and stand in one series with them; pictures, segmentations and key images cannot. When
an analysis takes the place of another, its heat maps would stand beside the older ones. The note names every such
object that the destination was owed; a PACS that manages changes hides them, another shows one more document.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from highdicom.sr import CodedConcept, CompositeContentItem, ContentItem, ImageContentItem
from pydicom import Dataset
from pydicom.uid import GrayscaleSoftcopyPresentationStateStorage, KeyObjectSelectionDocumentStorage

from models.api import RESEARCH_USE_ONLY
from node.results import keyobject
from node.results.record import AnalysisRecord, BuiltObject, Predecessor

TITLE = CodedConcept("113001", "DCM", "Rejected for Quality Reasons")  # CID 7010
WITHDRAWN = ("sc", "stack", "seg", "pr", "ko", "pm")  # kinds that have no way of their own to name what they replace
WHY = "A newer analysis of this study took the place of the one that these results are of."
NO_IMAGES = (GrayscaleSoftcopyPresentationStateStorage, KeyObjectSelectionDocumentStorage)


def note(record: AnalysisRecord, standing: Collection[str]) -> Iterator[BuiltObject]:
    """None where nothing is withdrawn. standing: SOP Instance UIDs that the new analysis made again."""
    gone = [item for item in record.predecessors if item.kind in WITHDRAWN and item.sop_instance_uid not in standing]
    if gone:
        said = keyobject.content(record, TITLE, f"{RESEARCH_USE_ONLY}. {WHY}", map(_reference, gone))
        evidence, names = [_evidence(record, item) for item in gone], [item.sop_instance_uid for item in gone]
        yield keyobject.document_of(record, "rejection", evidence, said, names)


def _evidence(record: AnalysisRecord, item: Predecessor) -> Dataset:
    ds = Dataset()
    ds.StudyInstanceUID, ds.SeriesInstanceUID = record.reference.StudyInstanceUID, item.series_instance_uid
    ds.SOPClassUID, ds.SOPInstanceUID = item.sop_class_uid, item.sop_instance_uid
    return ds


def _reference(item: Predecessor) -> ContentItem:
    """TID 2010 leaves the purpose open, highdicom wants one: it is what the title says."""
    of = CompositeContentItem if item.sop_class_uid in NO_IMAGES else ImageContentItem
    return of(TITLE, item.sop_class_uid, item.sop_instance_uid, relationship_type="CONTAINS")
