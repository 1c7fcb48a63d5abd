"""Reports in simpler classes of SR: valid, the same on every run, and saying what the original says.

Validators are dciodvfy and DCMTK's dsrdump, which knows the relationships that each class allows. Not covered: how a
PACS shows them; the fall-back itself (tests/pipeline/test_fallback.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from highdicom import sr
from pydicom import Dataset, dcmread
from pydicom.uid import UID, Comprehensive3DSRStorage, ComprehensiveSRStorage, EnhancedSRStorage

from node.results import codes, common
from node.results.build import build
from node.results.downgrade import CHAIN, Inexpressible, downgrade
from node.results.record import AnalysisRecord, BuiltObject, Predecessor
from tests.peers import dciodvfy, dsrdump, program, run
from tests.results.records import record, refusal
from tests.results.series import ct_record
from tests.results.test_ct_objects import with_numbers
from tests.results.test_objects import items, parsed, texts

SIMPLER = CHAIN[Comprehensive3DSRStorage]
MADE: dict[str, Callable[[], AnalysisRecord]] = {
    "film": record, "ct": ct_record, "numbers": with_numbers, "refusal": refusal
}  # fmt: skip


def reports(made: AnalysisRecord) -> Iterator[BuiltObject]:
    yield from (built for built in build(made) if built.sop_class_uid == Comprehensive3DSRStorage)


def validated(built: BuiltObject, folder: Path) -> Dataset:
    path = folder / "report.dcm"
    path.write_bytes(built.content)
    assert dciodvfy(path) == []
    strict = run([program("dsrdump"), "-Er", path])  # an unknown relationship is an error
    assert strict.code == 0 and dsrdump(path).code == 0, strict.text
    ds = parsed(built)
    assert (ds.SOPClassUID, ds.SOPInstanceUID, ds.SeriesInstanceUID) == (
        built.sop_class_uid, built.sop_instance_uid, built.series_instance_uid,
    )  # fmt: skip
    assert ds.file_meta.MediaStorageSOPInstanceUID == ds.SOPInstanceUID
    return ds


def statements(ds: Dataset) -> list[tuple[str, str]]:
    """(concept, value) of every content item, in order."""
    found = []
    for item in items(ds):
        name = item.get("ConceptNameCodeSequence")
        value = item.get("TextValue") or item.get("UID") or item.get("GraphicData")
        if "MeasuredValueSequence" in item:
            value = item.MeasuredValueSequence[0].NumericValue
        if "ConceptCodeSequence" in item:
            value = item.ConceptCodeSequence[0].CodeMeaning
        if "ReferencedSOPSequence" in item:
            value = item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
        found.append((str(name[0].CodeMeaning) if name else "", str(value)))
    return found


@pytest.mark.parametrize("sop_class", SIMPLER)
@pytest.mark.parametrize("made", list(MADE))
def test_every_report_can_be_said_in_each_simpler_class(made: str, sop_class: str, tmp_path: Path) -> None:
    originals = list(reports(MADE[made]()))
    assert originals
    for original in originals:
        built = downgrade(original.content, sop_class, original.kind)
        assert built.sop_class_uid == sop_class and built.kind == original.kind
        before, after = parsed(original), validated(built, tmp_path)
        assert statements(after) == statements(before)
        changed = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID")
        assert [e.tag for e in before if e != after.get(e.tag) and e.keyword not in changed] == []
        assert built.content == downgrade(original.content, sop_class, original.kind).content


def test_each_class_has_uids_and_a_series_of_its_own() -> None:
    for original in reports(record()):
        built = [original, *(downgrade(original.content, sop_class, original.kind) for sop_class in SIMPLER)]
        assert len({one.sop_instance_uid for one in built}) == len({one.series_instance_uid for one in built}) == 3


def test_a_newer_simple_report_follows_the_older_simple_report(tmp_path: Path) -> None:
    (first, *_) = reports(record())
    older = Predecessor("sr", first.sop_class_uid, first.sop_instance_uid, first.series_instance_uid)
    (second, *_) = reports(record(predecessors=(older,)))
    for sop_class in SIMPLER:
        one, two = (downgrade(original.content, sop_class, "sr") for original in (first, second))
        ds = validated(two, tmp_path)
        (series,) = ds.PredecessorDocumentsSequence[0].ReferencedSeriesSequence
        (reference,) = series.ReferencedSOPSequence
        assert one.series_instance_uid == two.series_instance_uid == series.SeriesInstanceUID
        assert (reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID) == (
            sop_class, one.sop_instance_uid,
        )  # fmt: skip


def in_space() -> BuiltObject:
    """A report whose region is given in the patient's space, which only Comprehensive 3D SR can."""
    made = ct_record()
    (original, *_) = reports(made)
    ds = parsed(original)
    frame = str(made.series[0].headers[0].FrameOfReferenceUID)
    points = sr.Scoord3DContentItem(
        codes.CENTRE, "POINT", np.array([[1.5, -2.25, 30.0]]), frame, relationship_type="CONTAINS"
    )
    image = made.series[0].headers[0]
    points.ContentSequence = [
        sr.ImageContentItem(codes.LUNG, image.SOPClassUID, image.SOPInstanceUID, relationship_type="SELECTED FROM")
    ]
    ds.ContentSequence.append(points)
    return common.encode(ds, "sr")


@pytest.mark.parametrize("sop_class", SIMPLER)
def test_coordinates_in_space_are_put_in_words(sop_class: str, tmp_path: Path) -> None:
    ds = validated(downgrade(in_space().content, sop_class, "sr"), tmp_path)
    assert "POINT at (1.5, -2.25, 30) mm in frame of reference" in texts(ds)
    assert "SCOORD3D" not in {item.ValueType for item in items(ds)}
    assert ds.ContentSequence[-1].ContentSequence[0].RelationshipType == "INFERRED FROM"


def test_what_cannot_be_said_is_refused_and_not_dropped() -> None:
    """A context of a statement is allowed in Comprehensive SR alone, a reference to another item in neither here."""
    (original, *_) = reports(record())
    ds = dcmread(BytesIO(original.content))
    number = next(item for item in items(ds) if item.ValueType == "NUM")
    context = sr.TextContentItem(codes.COMMENT, "seen by nobody", relationship_type="HAS OBS CONTEXT")
    number.ContentSequence = [*number.get("ContentSequence", []), context]
    content = common.encode(ds, "sr").content
    assert downgrade(content, ComprehensiveSRStorage, "sr")
    with pytest.raises(Inexpressible, match="NUM HAS OBS CONTEXT TEXT in Enhanced SR Storage"):
        downgrade(content, EnhancedSRStorage, "sr")
    reference = Dataset()
    reference.RelationshipType, reference.ReferencedContentItemIdentifier = "INFERRED FROM", [1, 1]
    number.ContentSequence[-1] = reference
    for sop_class in SIMPLER:
        with pytest.raises(Inexpressible):
            downgrade(common.encode(ds, "sr").content, sop_class, "sr")


def test_dcmtk_would_have_seen_an_illegal_relationship(tmp_path: Path) -> None:
    """The original, merely called by the other class's name: the validator these tests stand on objects."""
    ds = dcmread(BytesIO(in_space().content))
    ds.SOPClassUID = UID(EnhancedSRStorage)
    path = tmp_path / "renamed.dcm"
    path.write_bytes(common.encode(ds, "sr").content)
    assert run([program("dsrdump"), path]).code != 0
