"""A late instance: the pictures of the older analysis are withdrawn by a rejection note where a destination wants that.

Not covered: what a PACS makes of the note (Orthanc stores it and hides nothing).
"""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom import Dataset

from tests.peers import dciodvfy, dsrdump
from tests.pipeline.test_superseding import OTHER, PACS, Ward, wishes

KINDS = ("summary", "heat-maps", "presentation-states", "key-images", "film-segmentations", "rejection-notes")


@pytest.fixture
def ward(tmp_path: Path) -> Ward:
    return Ward(tmp_path)


def named(note: Dataset) -> set[tuple[str, str]]:
    """(kind of value, instance) of the content tree."""
    return {
        (item.ValueType, item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID)
        for item in note.ContentSequence
        if "ReferencedSOPSequence" in item
    }


def evidence(note: Dataset) -> set[tuple[str, str]]:
    """(series, instance)"""
    return {
        (series.SeriesInstanceUID, reference.ReferencedSOPInstanceUID)
        for study in note.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for reference in series.ReferencedSOPSequence
    }


def pictures(ward: Ward, analysis: int) -> set[tuple[str, str, str]]:
    """(kind, series, instance) of all but reports and notes."""
    found = ward.rows(
        "SELECT kind, series_uid, sop_uid FROM outputs WHERE analysis_id = :n"
        " AND kind NOT IN ('sr', 'regions', 'page', 'rejection')",
        n=analysis,
    )
    return {(str(row["kind"]), str(row["series_uid"]), str(row["sop_uid"])) for row in found}


def test_a_note_names_every_picture_of_the_analysis_before(ward: Ward, tmp_path: Path) -> None:
    for number in (1, 2, 3):
        ward.analyse(ward.arrive(number), wishes(PACS, kinds=KINDS))
    notes = ward.reports("rejection")
    assert len(notes) == 2, "the first analysis replaces nothing"
    for number, note in enumerate(notes, start=1):
        older, newer = pictures(ward, number), pictures(ward, number + 1)
        assert {kind for kind, _, _ in older} >= {"sc", "pr"}
        gone = {(series, uid) for _, series, uid in older - newer}
        assert evidence(note) == gone and {uid for _, uid in named(note)} == {uid for _, uid in gone}
        assert {value for value, _ in named(note)} == {"IMAGE", "COMPOSITE"}
        title = note.ConceptNameCodeSequence[0]
        assert (title.CodeValue, title.CodingSchemeDesignator) == ("113001", "DCM")
        assert int(note.InstanceNumber) == number
        path = tmp_path / f"{number}.dcm"
        note.save_as(path)
        assert dciodvfy(path) == [] and dsrdump(path).code == 0
    assert notes[0].SeriesInstanceUID == notes[1].SeriesInstanceUID


@pytest.mark.parametrize("kinds", [("summary", "heat-maps"), ("summary", "rejection-notes")])
def test_there_is_no_note_where_none_is_wanted_or_nothing_was_sent(ward: Ward, kinds: tuple[str, ...]) -> None:
    for number in (1, 2):
        ward.analyse(ward.arrive(number), wishes(PACS, kinds=kinds))
    assert ward.reports("rejection") == []


def test_a_destination_that_was_sent_no_picture_is_sent_no_note(ward: Ward) -> None:
    ward.analyse(ward.arrive(1), wishes(PACS, kinds=KINDS))
    ward.analyse(ward.arrive(2), wishes(PACS, OTHER, kinds=KINDS))
    owed = ward.rows(
        "SELECT destination FROM deliveries JOIN outputs ON outputs.id = output_id WHERE kind = 'rejection'"
    )
    assert [str(row["destination"]) for row in owed] == [PACS]
