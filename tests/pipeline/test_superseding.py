"""A late instance: the newer report names the one it takes the place of, in the same series, under the next number.

And what of the older analysis is still owed goes out no more. Through analysis with made-up systems, twice. Not
covered: what a viewer makes of two versions.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import XRayRadiationDoseSRStorage
from sqlalchemy import text

from node.core import settings
from node.core.job import Job, JobKind
from node.core.settings import Destination, Settings
from node.db import deliveries as ledger_rows
from node.db import destinations as standings
from node.db import jobs
from node.pipeline.analyse import Analyse
from node.pipeline.deliver import Deliver, Outcome
from tests.films import Film, drawn, wrap
from tests.peers import dciodvfy, dsrdump
from tests.pipeline.test_deliver import AWAY, TAKEN, Peer, deliver, turn
from tests.pipeline.test_judge import WANTED, registry
from tests.pipeline.waiting import Room

PACS, OTHER = "PACS@127.0.0.1:104", "OTHER@127.0.0.1:105"
REPORTS = ("sr", "regions")


def wishes(*destinations: str, **objects: object) -> Settings:
    """Settings with these destinations."""
    usual = settings.load()
    return dataclasses.replace(
        usual,
        analysis=WANTED,
        delivery=dataclasses.replace(usual.delivery, destinations=destinations),
        objects=dataclasses.replace(usual.objects, **{"kinds": ("summary", "regions"), **objects}),  # type: ignore[arg-type]
    )


class Ward(Room):
    """Films of one study arrive one after another, and each time the study is closed and analysed."""

    def arrive(self, number: int) -> Job:
        self.take(late(number))
        return self.closed()

    def closed(self) -> Job:
        self.clock.pass_by(100)
        assert len(self.close()) == 1
        return self.claimed()

    def claimed(self) -> Job:
        with self.database.write() as session:
            job = jobs.claim(session, JobKind.ANALYSE, "w", "t", self.clock())
        assert job is not None
        return job

    def analyse(self, job: Job, wanted: Settings) -> None:
        Analyse(self.database, self.archive, registry(), wanted, "0.1.0", self.clock)(job)

    def reports(self, kind: str) -> list[Dataset]:
        """In the order of their rows."""
        found = self.rows("SELECT path FROM outputs WHERE kind = :kind ORDER BY id", kind=kind)
        return [dcmread(self.archive.path(str(row["path"]))) for row in found]


def late(number: int) -> Dataset:
    """One film after the other of the same study."""
    return wrap(Film(drawn(number, 128), f"late {number}", "late"))


@pytest.fixture
def ward(tmp_path: Path) -> Ward:
    return Ward(tmp_path)


def named(report: Dataset) -> list[tuple[str, str, str]]:
    """(series, class, instance) of every predecessor."""
    return [
        (series.SeriesInstanceUID, reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID)
        for study in report.get("PredecessorDocumentsSequence", [])
        for series in study.ReferencedSeriesSequence
        for reference in series.ReferencedSOPSequence
    ]


def whole(report: Dataset) -> tuple[str, str, str]:
    return report.SeriesInstanceUID, report.SOPClassUID, report.SOPInstanceUID


@pytest.mark.parametrize("kind", REPORTS)
def test_each_report_names_the_one_before_it(ward: Ward, kind: str, tmp_path: Path) -> None:
    for number in (1, 2, 3):
        ward.analyse(ward.arrive(number), wishes(PACS))
    first, second, third = ward.reports(kind)
    assert [named(report) for report in (first, second, third)] == [[], [whole(first)], [whole(second)]]
    assert "PredecessorDocumentsSequence" not in first
    assert len({report.SeriesInstanceUID for report in (first, second, third)}) == 1
    assert [int(report.InstanceNumber) for report in (first, second, third)] == [1, 2, 3]
    path = tmp_path / "third.dcm"
    third.save_as(path)
    assert dciodvfy(path) == [] and dsrdump(path).code == 0


def test_a_refusal_withdraws_regions_whatever_arrived_first(ward: Ward) -> None:
    """A dose report came before the film, and after the analysis a film of another patient."""
    dose, stranger = late(7), late(2)
    del dose.PixelData, dose.Rows, dose.Columns
    dose.SOPClassUID, dose.Modality = XRayRadiationDoseSRStorage, "SR"
    stranger.PatientID = "somebody else"
    ward.take(dose)
    ward.analyse(ward.arrive(1), wishes(PACS))
    ward.take(stranger)
    ward.analyse(ward.closed(), wishes(PACS))
    first, second = ward.reports("regions")
    assert named(second) == [whole(first)]
    assert second.PatientID == first.PatientID != stranger.PatientID
    images = [
        item for study in second.CurrentRequestedProcedureEvidenceSequence for item in study.ReferencedSeriesSequence
    ]
    assert [item.SeriesInstanceUID for item in images] == [late(1).SeriesInstanceUID]


def test_pages_that_are_kept_count_up_too(ward: Ward) -> None:
    for number in (1, 2):
        ward.analyse(ward.arrive(number), wishes(PACS))
    assert [int(page.InstanceNumber) for page in ward.reports("page")] == [1, 2]
    assert len({page.SeriesInstanceUID for page in ward.reports("page")}) == 1
    assert len(ward.rows("SELECT * FROM reserves")) == 2


@pytest.mark.parametrize("then, kept", [("", 1), ("away", 2), ("paused", 2), ("refuses", 2)])
def test_no_page_is_kept_for_a_destination_that_took_the_last_report(ward: Ward, then: str, kept: int) -> None:
    ward.analyse(ward.arrive(1), wishes(PACS))
    turn(deliver(ward, Peer(TAKEN)))
    with ward.database.write() as session:
        if then == "away":
            standings.unanswered(session, PACS, "it is off", ward.clock(), 9, lambda number: timedelta(seconds=number))
        elif then == "paused":
            standings.pause(session, PACS, ward.clock())
        elif then == "refuses":
            last = session.scalars(text("SELECT max(id) FROM deliveries")).one()
            ledger_rows.note_attempt(session, last, "refused", 0x0122, "", 2, ward.clock())
    ward.analyse(ward.arrive(2), wishes(PACS))
    assert len(ward.rows("SELECT * FROM reserves")) == len(ward.reports("page")) == kept


def test_a_report_that_nobody_was_owed_is_not_named(ward: Ward) -> None:
    """More had arrived while it was made: it was kept and not delivered."""
    ward.analyse(ward.arrive(1), wishes(PACS))
    job = ward.arrive(2)

    def more_arrives() -> bool:
        ward.take(late(3))
        return True

    Analyse(ward.database, ward.archive, registry(), wishes(PACS), "0.1.0", ward.clock, more_arrives)(job)
    ward.analyse(ward.closed(), wishes(PACS))
    first, kept, third = ward.reports("sr")
    assert named(kept) == [whole(first)] and named(third) == [whole(first)]
    assert [int(report.InstanceNumber) for report in (first, kept, third)] == [1, 2, 2]


def test_a_destination_is_told_of_the_reports_that_it_was_owed(ward: Ward) -> None:
    """A second one that came later starts with a first report."""
    ward.analyse(ward.arrive(1), wishes(PACS))
    later = wishes(PACS, OTHER)
    own = {OTHER: dataclasses.replace(later.objects, kinds=("summary",))}
    ward.analyse(ward.arrive(2), dataclasses.replace(later, destinations=own))
    owed = ward.rows(
        "SELECT destination, path FROM deliveries JOIN outputs ON outputs.id = output_id"
        " WHERE kind = 'sr' AND analysis_id = 2 ORDER BY destination"
    )
    (first, *_) = ward.reports("sr")
    told = {str(row["destination"]): named(dcmread(ward.archive.path(str(row["path"])))) for row in owed}
    assert told == {PACS: [whole(first)], OTHER: []}


def test_a_node_without_destinations_names_none(ward: Ward) -> None:
    for number in (1, 2):
        ward.analyse(ward.arrive(number), wishes())
    assert [named(report) for report in ward.reports("sr")] == [[], []]


def test_a_second_run_of_the_same_job_writes_the_same_bytes(ward: Ward, tmp_path: Path) -> None:
    """The first run wrote its files and died before the commit."""
    ward.analyse(ward.arrive(1), wishes(PACS))
    job = ward.arrive(2)

    class Dies(Analyse):
        def _commit(self, *arguments: object) -> None:  # type: ignore[override]
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Dies(ward.database, ward.archive, registry(), wishes(PACS), "0.1.0", ward.clock)(job)
    written = {path: path.read_bytes() for path in (ward.archive.root / "results").rglob("*.dcm")}
    ward.clock.pass_by(1000)
    ward.analyse(job, wishes(PACS))
    assert {path: path.read_bytes() for path in (ward.archive.root / "results").rglob("*.dcm")} == written
    assert named(ward.reports("sr")[1]) == [whole(ward.reports("sr")[0])]


@pytest.mark.filterwarnings("ignore:Unknown encoding:UserWarning")
def test_what_cannot_be_written_in_the_study_s_own_set_stands_in_its_story(ward: Ward) -> None:
    ds = late(1)
    ds.SpecificCharacterSet = "ISO_IR 999"
    ward.take(ds)
    ward.analyse(ward.closed(), wishes(PACS, character_set="source"))
    assert "Results are written in UTF-8" in ward.events() and f"({PACS})" in ward.events()
    assert {report.SpecificCharacterSet for report in ward.reports("sr")} == {"ISO_IR 192"}


def states(ward: Ward) -> list[tuple[int, str]]:
    """(analysis, state) of every delivery."""
    found = ward.rows(
        "SELECT DISTINCT analysis_id, state FROM deliveries JOIN outputs ON outputs.id = output_id ORDER BY 1, 2"
    )
    return [(int(str(row["analysis_id"])), str(row["state"])) for row in found]


def sops(ward: Ward, analysis: int) -> set[str]:
    return {str(row["sop_uid"]) for row in ward.rows("SELECT sop_uid FROM outputs WHERE analysis_id = :a", a=analysis)}


@pytest.mark.parametrize("tried", [False, True])
def test_what_a_newer_analysis_superseded_goes_out_no_more(ward: Ward, tried: bool) -> None:
    """Also where the destination was away before and is there again."""
    ward.analyse(ward.arrive(1), wishes(PACS))
    if tried:
        turn(deliver(ward, Peer(AWAY)))
    ward.analyse(ward.arrive(2), wishes(PACS))
    assert states(ward) == [(1, "superseded"), (2, "waiting")], "said at once, not when its turn would come"
    peer = Peer(TAKEN)
    ward.clock.pass_by(1000)
    turn(deliver(ward, peer))
    assert states(ward) == [(1, "superseded"), (2, "delivered")]
    assert not {uid for _, uid in peer.got} & sops(ward, 1)
    said = {str(row["comment"]) for row in ward.rows("SELECT comment FROM deliveries WHERE state = 'superseded'")}
    assert said == {"superseded: a newer analysis of the study took its place before it was delivered"}
    assert {row["state"] for row in ward.rows("SELECT state FROM jobs WHERE kind = 'deliver'")} == {"done"}


@pytest.mark.parametrize("answer, ends", [(TAKEN, "delivered"), (AWAY, "superseded")])
def test_an_association_under_way_ends_as_it_ends_and_is_not_repeated(ward: Ward, answer: Outcome, ends: str) -> None:
    ward.analyse(ward.arrive(1), wishes(PACS))
    job = ward.arrive(2)
    offered: list[Path] = []

    def send(destination: Destination, files: Sequence[Path]) -> list[Outcome]:
        if not offered:
            ward.analyse(job, wishes(PACS))
            assert states(ward) == [(1, "waiting"), (2, "waiting")]
        offered.extend(files)
        return [answer for _ in files]

    duty = Deliver(ward.database, ward.archive, settings.load().delivery, send, ward.clock, lambda: 1.0)
    turn(duty)
    ward.clock.pass_by(1000)
    turn(duty)
    assert states(ward)[0] == (1, ends)
    old = [path for path in offered if dcmread(path).SOPInstanceUID in sops(ward, 1)]
    assert len(old) == len(set(old)), "once"


def test_another_form_of_what_was_superseded_is_not_made_due(ward: Ward) -> None:
    """The class is refused while a newer analysis is committed: the simpler report is owed and ends at once."""
    ward.analyse(ward.arrive(1), wishes(PACS, kinds=("summary",)))
    job, refused = ward.arrive(2), Outcome(0x0122, "", False)

    def send(destination: Destination, files: Sequence[Path]) -> list[Outcome]:
        ward.analyse(job, wishes(PACS, kinds=("summary",)))
        return [refused for _ in files]

    turn(Deliver(ward.database, ward.archive, settings.load().delivery, send, ward.clock, lambda: 1.0))
    assert states(ward) == [(1, "replaced"), (1, "waiting"), (2, "waiting")]
    turn(deliver(ward, Peer(TAKEN)))
    turn(deliver(ward, Peer(TAKEN)))
    assert states(ward) == [(1, "replaced"), (1, "superseded"), (2, "delivered"), (2, "replaced")]
    assert {state for _, state in states(ward)} <= set(ledger_rows.STATES)
