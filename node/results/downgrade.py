"""A report of ours in a simpler class of SR, for a PACS that does not take Comprehensive 3D SR.

Made from the stored bytes alone, so that the same report always becomes the same file under the same UID. The modules
of the three IODs are the same (PS3.3 A.35.2.2, A.35.3.2, A.35.13.2); what differs is which content items may stand in
which relationship. What the simpler class cannot say in coordinates it says in words; what it cannot say at all is
refused, never dropped. A report that took the place of an earlier one names the earlier one's simpler form.

The standard lets one series hold several classes of SR (PS3.3 A.1.2.3 asks for one modality, equipment and study); each
class has a series of its own all the same, since viewers show only the newest report of a series.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

from pydicom import Dataset, dcmread
from pydicom.uid import UID, Comprehensive3DSRStorage, ComprehensiveSRStorage, EnhancedSRStorage

from node.core.uids import derive
from node.results import common
from node.results.record import BuiltObject

CHAIN: Mapping[str, tuple[str, ...]] = {  # class -> the simpler classes to try, best first
    Comprehensive3DSRStorage: (ComprehensiveSRStorage, EnhancedSRStorage),
    ComprehensiveSRStorage: (EnhancedSRStorage,),
}
SCHEMA = "1"  # any change of what is made of the same report raises it, and with it every UID

_SAID = frozenset(["TEXT", "CODE", "NUM", "DATETIME", "DATE", "TIME", "UIDREF", "PNAME"])
_SHOWN = frozenset(["COMPOSITE", "IMAGE", "WAVEFORM", "SCOORD", "TCOORD"])
_STATEMENTS, _OBJECTS = frozenset(["TEXT", "CODE", "NUM"]), frozenset(["IMAGE", "WAVEFORM", "COMPOSITE"])
_CONTAINER = frozenset(["CONTAINER"])
Rows = Mapping[str, tuple[frozenset[str], frozenset[str]]]  # relationship -> (value types of sources, of targets)
ENHANCED: Rows = {  # PS3.3 Table A.35.2-2
    "CONTAINS": (_CONTAINER, _SAID | _SHOWN | _CONTAINER),
    "HAS OBS CONTEXT": (_CONTAINER, _SAID | {"COMPOSITE"}),
    "HAS ACQ CONTEXT": (_CONTAINER | _OBJECTS, _SAID),
    "HAS CONCEPT MOD": (_SAID | _SHOWN | _CONTAINER, frozenset(["TEXT", "CODE"])),
    "HAS PROPERTIES": (_STATEMENTS, _SAID | _SHOWN),
    "INFERRED FROM": (_STATEMENTS, _SAID | _SHOWN),
    "SELECTED FROM": (frozenset(["SCOORD"]), frozenset(["IMAGE"])),
}
COMPREHENSIVE: Rows = {  # PS3.3 Table A.35.3-2
    **ENHANCED,
    "HAS OBS CONTEXT": (_CONTAINER | _STATEMENTS, _SAID | {"COMPOSITE"}),
    "HAS ACQ CONTEXT": (_CONTAINER | _OBJECTS, _SAID | _CONTAINER),
    "HAS PROPERTIES": (_STATEMENTS, _SAID | _SHOWN | _CONTAINER),
    "INFERRED FROM": (_STATEMENTS, _SAID | _SHOWN | _CONTAINER),
}
TABLES: Mapping[str, Rows] = {ComprehensiveSRStorage: COMPREHENSIVE, EnhancedSRStorage: ENHANCED}


class Inexpressible(ValueError):
    """The report holds what the simpler class has no room for."""


def downgrade(content: bytes, sop_class: str, kind: str) -> BuiltObject:
    """The file ``content``, a report of ours of a class in ``CHAIN``, as a report of ``sop_class``."""
    ds = dcmread(io.BytesIO(content))
    _simplify(ds, TABLES[sop_class], sop_class)
    for study in ds.get("PredecessorDocumentsSequence", []):
        for series in study.ReferencedSeriesSequence:
            _rename_series(series, sop_class)
    ds.SOPClassUID, ds.SeriesInstanceUID = UID(sop_class), UID(_series_uid(ds.SeriesInstanceUID, sop_class))
    ds.SOPInstanceUID = UID(_instance_uid(ds.SOPInstanceUID, sop_class))
    return common.encode(ds, kind)


def _instance_uid(original: str, sop_class: str) -> str:
    return derive("simpler report", original, sop_class, SCHEMA)


def _series_uid(original: str, sop_class: str) -> str:
    return derive("simpler reports", original, sop_class)


def _rename_series(series: Dataset, sop_class: str) -> None:
    series.SeriesInstanceUID = UID(_series_uid(series.SeriesInstanceUID, sop_class))
    for reference in series.ReferencedSOPSequence:
        reference.ReferencedSOPClassUID = UID(sop_class)
        reference.ReferencedSOPInstanceUID = UID(_instance_uid(reference.ReferencedSOPInstanceUID, sop_class))


def _simplify(item: Dataset, rows: Rows, sop_class: str) -> None:
    """Make every relationship below ``item`` one that the class allows, by value."""
    for child in item.get("ContentSequence", []):
        if "ReferencedContentItemIdentifier" in child:  # PS3.3 A.35.2.3.1.2; we write none
            raise Inexpressible("a reference to another content item")
        if child.ValueType == "SCOORD3D":
            _put_in_words(child)
        sources, targets = rows.get(child.RelationshipType, (frozenset(), frozenset()))
        if item.ValueType not in sources or child.ValueType not in targets:
            relation = f"{item.ValueType} {child.RelationshipType} {child.ValueType}"
            raise Inexpressible(f"{relation} in {UID(sop_class).name}")
        _simplify(child, rows, sop_class)


def _put_in_words(item: Dataset) -> None:
    """SCOORD3D (PS3.3 C.18.9) as TEXT: points in millimetres of their Frame of Reference."""
    points = _triplets(item.GraphicData)
    words = "; ".join(f"({x:g}, {y:g}, {z:g})" for x, y, z in points)
    frame = item.ReferencedFrameOfReferenceUID
    item.TextValue = f"{item.GraphicType} at {words} mm in frame of reference {frame}"
    item.ValueType = "TEXT"
    del item.GraphicData, item.GraphicType, item.ReferencedFrameOfReferenceUID
    for child in item.get("ContentSequence", []):
        if child.RelationshipType == "SELECTED FROM":  # of coordinates only
            child.RelationshipType = "INFERRED FROM"


def _triplets(numbers: Sequence[float]) -> list[tuple[float, float, float]]:
    return [(numbers[n], numbers[n + 1], numbers[n + 2]) for n in range(0, len(numbers), 3)]
