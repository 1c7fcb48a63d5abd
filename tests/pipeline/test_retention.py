"""Retention: what goes, what stays and why, how much at most, what is left when it is cut off, and what comes again.

The disk's fullness and the clock are told by the test. Not covered: the running node (tests/e2e/test_keeping.py).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydicom import dcmread
from sqlalchemy import text

from node import cli
from node.core import settings
from node.core.job import JobKind
from node.core.study import StudyState
from node.db import commitments, holds, jobs
from node.db import copy as backup_rows
from node.db import retention as rows
from node.db.commitments import Asked
from node.db.session import Database, sqlite_url
from node.pipeline.catalogue import Catalogue, Query
from node.pipeline.commitment import Commitments
from node.pipeline.query_keys import Level
from node.pipeline.retention import Decision, Retention
from tests.films import Film, drawn
from tests.pipeline.test_superseding import Ward, wishes
from tests.pipeline.waiting import Room

DAY = 86400.0
PACS = "PACS@127.0.0.1:104"


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path)


def film(name: str) -> Film:
    return Film(drawn(1, 16), name, name)


def analysed(room: Room, name: str, destinations: tuple[str, ...] = (PACS,)) -> str:
    """A study with results that ``destinations`` are owed; its UID."""
    room.analysed(destinations, film(name))
    return move(room, film(name).study_uid, StudyState.ANALYSED)


def stored(room: Room, name: str) -> str:
    return move(room, room.receive(film(name)), StudyState.STORED)


def move(room: Room, uid: str, state: StudyState) -> str:
    change(room, "UPDATE studies SET state = :state WHERE study_uid = :uid", state=state, uid=uid)
    return uid


def change(room: Room, sql: str, **values: object) -> None:
    with room.database.write() as session:
        session.execute(text(sql), values)


def deliver(room: Room) -> None:
    change(
        room, "UPDATE deliveries SET state = 'delivered', delivered_at = :now", now=room.clock().replace(tzinfo=None)
    )


def retention(
    room: Room, used: Callable[[], float] = lambda: 0.0, committing: tuple[str, ...] = (), **changes: object
) -> Retention:
    rules = dataclasses.replace(settings.load().retention, **{"remove_after_days": 30.0, **changes})  # type: ignore[arg-type]
    return Retention(room.database, room.archive, rules, committing, room.clock, used)


def going(decision: Decision) -> list[str]:
    return [one.study_uid for one, _ in decision.going]


def objections(room: Room, uid: str, keeper: Retention) -> str:
    with room.database.read() as session:
        return "; ".join(
            said for one in rows.candidates(session, keeper.bounds()) if one.study_uid == uid for said in one.objections
        )


def assert_whole(room: Room) -> None:
    """Every file that a row names is there, and there is no other."""
    with room.database.read() as session:
        named = {room.archive.path(one) for one in backup_rows.files(session)}
    assert {path for path in room.archive.root.rglob("*") if path.is_file()} == named


def test_by_default_nothing_goes(room: Room) -> None:
    assert not settings.load().retention.is_on
    stored(room, "old")
    room.clock.pass_by(10_000 * DAY)
    assert retention(room, remove_after_days=0.0).decide() == Decision()


def test_what_is_too_old_goes_and_its_rows_stay(room: Room) -> None:
    uid = analysed(room, "old")
    deliver(room)
    room.clock.pass_by(29 * DAY)
    young = stored(room, "young")
    room.clock.pass_by(1.5 * DAY)
    outputs = room.rows("SELECT count(*) AS n FROM outputs")
    keeper = retention(room)
    assert going(keeper.decide()) == [uid]
    keeper.turn()
    assert_whole(room)
    assert room.rows("SELECT study_uid FROM studies ORDER BY id") == [{"study_uid": uid}, {"study_uid": young}]
    assert room.rows("SELECT count(*) AS n FROM outputs") == outputs
    assert [row["sop_uid"] for row in room.rows("SELECT sop_uid FROM instances")] == [film("young").sop_instance_uid]
    (removal,) = room.rows("SELECT * FROM removals")
    assert "remove_after_days" in str(removal["rule"]) and removal["finished_at"] and removal["bytes"]
    assert "files were removed from the archive: it came more than 30 days ago" in room.events()
    assert offered(room) == {young}
    assert keeper.decide() == Decision()


def offered(room: Room) -> set[str]:
    """Study UIDs that a C-FIND answers with and of which a C-MOVE has files."""
    catalogue = Catalogue(room.database, room.archive)
    found = {
        str(one["StudyInstanceUID"]) for one in catalogue.find(Query(Level.STUDY, {"StudyInstanceUID": ""}, False))
    }
    everything = [str(row["study_uid"]) for row in room.rows("SELECT study_uid FROM studies")]
    held = {uid: catalogue.held(Query(Level.STUDY, {"StudyInstanceUID": uid}, False)) for uid in everything}
    assert {uid for uid, files in held.items() if files} == found
    return found


REASONS: dict[str, tuple[Callable[[Room, str], object], str]] = {
    "received": (lambda room, uid: move(room, uid, StudyState.RECEIVING), "waits for its analysis"),
    "analysing": (lambda room, uid: move(room, uid, StudyState.ANALYSING), "waits for its analysis"),
    "failed": (lambda room, uid: move(room, uid, StudyState.FAILED), "given up"),
    "held": (lambda room, uid: _hold(room, uid), "on hold"),
    "waiting": (lambda room, _: change(room, "UPDATE deliveries SET state = 'waiting' WHERE id = 1"), "not delivered"),
    "refused": (lambda room, _: change(room, "UPDATE deliveries SET state = 'refused' WHERE id = 1"), "not delivered"),
    "failed delivery": (
        lambda room, _: change(room, "UPDATE deliveries SET state = 'failed' WHERE id = 1"),
        "not delivered",
    ),
    "uncommitted": (
        lambda room, _: change(room, "UPDATE deliveries SET committed_at = NULL WHERE id = 1"),
        "has not committed",
    ),
    "committed to a peer": (lambda room, uid: _commit(room), "committed to a peer"),
    "priors": (lambda room, _: _owe_priors(room), "priors are still to be fetched"),
}


def _hold(room: Room, uid: str) -> None:
    with room.database.write() as session:
        holds.hold(session, uid, room.clock())


def _commit(room: Room) -> None:
    """As a modality asks us; it is told that we keep the film."""
    named = [(str(film("kept").sop_class), film("kept").sop_instance_uid)]
    with room.database.write() as session:
        commitments.request(session, "1.2", "MODALITY", "127.0.0.1", named, room.clock(), room.clock())
    told: list[int] = []

    def tell(_: Asked, report: object) -> str:
        told.append(len(report.committed))  # type: ignore[attr-defined]
        return ""

    room.clock.pass_by(5)
    Commitments(room.database, room.archive, room.clock, (1.0,)).pump(tell)
    assert told == [1]


def _owe_priors(room: Room) -> None:
    with room.database.write() as session:
        jobs.add(session, JobKind.PRIORS, 1, "priors", room.clock())


@pytest.mark.parametrize("reason", REASONS)
def test_what_must_stay_stays_and_says_why(room: Room, reason: str) -> None:
    """By either rule; once the reason is gone, the study goes."""
    do, said = REASONS[reason]
    uid = analysed(room, "kept")
    deliver(room)
    change(room, "UPDATE deliveries SET committed_at = delivered_at")
    do(room, uid)
    room.clock.pass_by(31 * DAY)
    for keeper in (
        retention(room, committing=(PACS,)),
        retention(room, lambda: 99.0, (PACS,), remove_after_days=0.0, high_watermark_percent=90.0),
    ):
        keeper.turn()
        assert room.rows("SELECT * FROM removals") == []
        assert said in objections(room, uid, keeper)
    for undo in ("UPDATE studies SET state = 'analysed'", "DELETE FROM retention_holds", "DELETE FROM jobs",
                 "UPDATE deliveries SET state = 'delivered', committed_at = delivered_at",
                 "UPDATE instances SET committed_at = NULL"):  # fmt: skip
        change(room, undo)
    retention(room, committing=(PACS,)).turn()
    assert len(room.rows("SELECT * FROM removals WHERE finished_at IS NOT NULL")) == 1
    assert_whole(room)


def test_what_was_committed_to_a_peer_goes_where_the_operator_says_so(room: Room) -> None:
    uid = analysed(room, "kept")
    deliver(room)
    _commit(room)
    room.clock.pass_by(31 * DAY)
    assert going(retention(room, keep_committed=False).decide()) == [uid]
    retention(room, keep_committed=False).turn()
    named = ((str(film("kept").sop_class), film("kept").sop_instance_uid),)
    report = Commitments(room.database, room.archive, room.clock, (1.0,)).judge(Asked(1, "1.3", "M", "h", named, 0))
    assert report.failed and not report.committed, "it is not committed again once it is gone"


def test_given_up_deliveries_of_a_superseded_analysis_keep_nothing(room: Room) -> None:
    uid = analysed(room, "kept")
    change(room, "UPDATE deliveries SET state = 'failed'")
    change(room, "UPDATE analyses SET superseded = 1")
    room.clock.pass_by(31 * DAY)
    assert going(retention(room).decide()) == [uid]


def test_for_want_of_room_the_least_recently_needed_go_until_the_low_mark(room: Room) -> None:
    uids = []
    for number in range(6):
        uids.append(stored(room, f"room {number}"))
        room.clock.pass_by(DAY)
    with room.database.write() as session:
        rows.used(session, [1], room.clock())  # the oldest was fetched a moment ago
    room.clock.pass_by(5 * DAY)

    def used() -> float:
        return 70.0 + 5 * int(str(room.rows("SELECT count(*) AS n FROM instances")[0]["n"]))

    wanted = {"remove_after_days": 0.0, "high_watermark_percent": 95.0, "low_watermark_percent": 86.0}
    keeper = retention(room, used, max_percent_per_day=100.0, **wanted)
    keeper.turn()
    gone = {
        str(row["study_uid"])
        for row in room.rows("SELECT study_uid FROM studies JOIN removals ON study_id = studies.id")
    }
    assert gone == {uids[1], uids[2], uids[3]}, "85 % are in use now"
    keeper.turn()
    assert len(room.rows("SELECT * FROM removals")) == 3
    assert_whole(room)
    stored(room, "one more")
    keeper.turn()
    assert len(room.rows("SELECT * FROM removals")) == 3, "90 %: the high mark is not passed again"


def test_what_is_young_stays_however_full_the_disk(room: Room) -> None:
    stored(room, "young")
    room.clock.pass_by(6.9 * DAY)
    keeper = retention(room, lambda: 99.0, remove_after_days=0.0, high_watermark_percent=90.0)
    keeper.turn()
    assert room.rows("SELECT * FROM removals") == []
    assert "no study that may go" in problem(room) and "99 %" in problem(room)


def problem(room: Room) -> str:
    with room.database.read() as session:
        found = holds.problem(session)
    return f"{found.sentence} {' '.join(found.remedy)}" if found else ""


def test_a_clock_that_jumps_ahead_removes_nothing_without_a_word(room: Room) -> None:
    for number in range(8):
        stored(room, f"jump {number}")
    room.clock.pass_by(400 * DAY)
    keeper = retention(room)
    keeper.turn()
    assert room.rows("SELECT * FROM removals") == []
    assert "8 studies" in problem(room) and "retention allow" in problem(room)
    room.clock.pass_by(-400 * DAY)
    keeper.turn()
    assert problem(room) == "", "the clock is right again"
    room.clock.pass_by(400 * DAY)
    with room.database.write() as session:
        holds.allow(session, room.clock() + timedelta(days=2))  # by a clock that was two days ahead
    keeper.turn()
    assert room.rows("SELECT * FROM removals") == []
    with room.database.write() as session:
        holds.allow(session, room.clock())
    for _ in range(2):
        keeper.turn()
    assert len(room.rows("SELECT * FROM removals")) == 8
    assert problem(room) == ""
    assert_whole(room)


def test_no_more_than_the_share_of_a_day_goes_for_want_of_room(room: Room) -> None:
    for number in range(10):
        stored(room, f"share {number}")
    room.clock.pass_by(10 * DAY)
    keeper = retention(room, lambda: 99.0, remove_after_days=0.0, high_watermark_percent=90.0)
    for _ in range(3):
        keeper.turn()
    assert len(room.rows("SELECT * FROM removals")) == 2, "20 % of ten"
    assert "20 % of the studies go in a day" in problem(room)
    room.clock.pass_by(1.1 * DAY)
    keeper.turn()
    assert len(room.rows("SELECT * FROM removals")) == 4 - 1, "20 % of eight"


class CutOff(BaseException):
    """Stands for the kill."""


STEPS = ("remove", "discard", "settle", "finish")


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("step", STEPS)
def test_cut_off_anywhere_it_is_finished_later(
    room: Room, monkeypatch: pytest.MonkeyPatch, step: str, after: bool
) -> None:
    """And meanwhile no query offers a file that is gone."""
    analysed(room, "cut off", ())
    room.clock.pass_by(31 * DAY)
    where = rows if step in ("remove", "finish") else type(room.archive)
    real = getattr(where, step)

    def cut(*arguments: object) -> object:
        if after:
            real(*arguments)
        raise CutOff

    with monkeypatch.context() as patch:
        patch.setattr(where, step, cut)
        with pytest.raises(CutOff):
            retention(room).turn()
    with room.database.read() as session:
        missing = [one for one in backup_rows.files(session) if not room.archive.path(one).exists()]
    assert missing == []
    offered(room)
    retention(room).turn()
    assert_whole(room)
    assert len(room.rows("SELECT * FROM removals WHERE finished_at IS NOT NULL")) == 1


def test_what_comes_again_while_it_is_removed_stays(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows are gone, the files not yet, when the film is sent again."""
    uid = stored(room, "again")
    room.clock.pass_by(31 * DAY)
    with monkeypatch.context() as patch:
        patch.setattr(rows, "unfinished", lambda _: [])
        retention(room).turn()
    assert room.rows("SELECT * FROM instances") == []
    room.receive(film("again"))
    retention(room).turn()
    assert_whole(room)
    assert offered(room) == {uid}


def test_a_backup_is_whole_while_retention_removes(room: Room, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database is copied, then a study goes, then the files are copied."""
    analysed(room, "copied", ())
    room.clock.pass_by(31 * DAY)
    kept, real = stored(room, "kept"), backup_rows.copy

    def copy(source: Path, target: Path) -> None:
        real(source, target)
        retention(room).turn()

    monkeypatch.setattr(backup_rows, "copy", copy)
    assert cli.main(["backup", "--data", str(tmp_path), "--to", str(tmp_path / "copy")]) == 0
    assert len(room.rows("SELECT * FROM removals")) == 1
    with Database(sqlite_url(tmp_path / "copy")).read() as session:
        named = [tmp_path / "copy" / "archive" / one for one in backup_rows.files(session)]
    assert len(named) == 1 and all(path.exists() for path in named) and offered(room) == {kept}


def test_the_same_study_again_is_known_and_not_analysed_anew(room: Room) -> None:
    two = dataclasses.replace(film("second"), study="first")
    uid = room.receive(film("first"))
    room.receive(two)
    room.clock.pass_by(11)
    room.close()
    change(room, "UPDATE jobs SET state = 'done'")
    move(room, uid, StudyState.ANALYSED)
    for _ in range(2):
        room.clock.pass_by(31 * DAY)
        retention(room).turn()
        assert offered(room) == set()
        assert room.receive(film("first")) == room.receive(two) == uid
        room.clock.pass_by(11)
        room.close()
        assert room.rows("SELECT state FROM studies") == [{"state": "analysed"}]
        assert len(room.rows("SELECT * FROM jobs")) == 1
        assert offered(room) == {uid}
        assert_whole(room)


def test_a_part_of_what_was_removed_is_kept_and_takes_no_ones_place(room: Room) -> None:
    """One of two films comes again: its own analysis would stand for the whole. With something new it is analysed."""
    two, three = (dataclasses.replace(film(name), study="first") for name in ("second", "third"))
    uid = room.receive(film("first"))
    room.receive(two)
    room.clock.pass_by(11)
    room.close()
    change(room, "UPDATE jobs SET state = 'done'")
    move(room, uid, StudyState.ANALYSED)
    room.clock.pass_by(31 * DAY)
    retention(room).turn()
    room.receive(two)
    room.clock.pass_by(11)
    room.close()
    assert room.rows("SELECT state FROM studies") == [{"state": "stored"}]
    assert "not analysed by itself" in room.events()
    room.receive(three)
    room.clock.pass_by(11)
    room.close()
    assert room.rows("SELECT state FROM studies") == [{"state": "queued"}]
    with room.database.read() as session:
        absent = [one.sop_instance_uid for one in rows.absent(session, 1)]
    assert absent == [film("first").sop_instance_uid]


def test_a_report_on_what_is_left_names_what_was_removed(tmp_path: Path) -> None:
    """Two films are analysed, delivered and removed; a third comes. Its report follows theirs and counts them."""
    ward = Ward(tmp_path)
    wanted = wishes(PACS, kinds=("summary", "heat-maps", "rejection-notes"))
    for number in (1, 2, 3):
        if number == 3:
            deliver(ward)
            ward.clock.pass_by(31 * DAY)
            retention(ward).turn()
            assert ward.rows("SELECT * FROM instances") == []
        ward.analyse(ward.arrive(number), wanted)
    assert ward.rows("SELECT instances_used, instances_left_out FROM analyses ORDER BY id DESC LIMIT 1") == [
        {"instances_used": 1, "instances_left_out": 2}
    ]
    (path,) = ward.rows("SELECT path FROM outputs WHERE kind = 'sr' ORDER BY id DESC LIMIT 1")
    report = dcmread(ward.archive.path(str(path["path"])))
    texts = " ".join(str(one.value) for one in report.iterall() if one.keyword == "TextValue")
    assert "removed from the archive of this node" in texts and len(report.PredecessorDocumentsSequence) == 1
    assert_whole(ward)


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["receive", "analyse", "deliver", "hold", "free", "days", "turn", "full"]), st.integers(0, 3)
    ),
    max_size=25,
)


@given(actions=ACTIONS)
@hypothesis_settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_happens_rows_and_files_agree(
    tmp_path_factory: pytest.TempPathFactory, actions: list[tuple[str, int]]
) -> None:
    """And nothing on hold, undelivered or unfinished is ever removed."""
    room = Room(tmp_path_factory.mktemp("any"))
    full = [0.0]
    keeper = retention(room, lambda: full[0], max_percent_per_day=100.0, high_watermark_percent=90.0)
    for action, number in actions:
        name = f"any {number}"
        uid = film(name).study_uid
        if action == "receive":
            room.receive(film(name))
        elif action == "analyse" and room.rows("SELECT 1 FROM studies WHERE study_uid = :u", u=uid):
            move(room, uid, StudyState.STORED)
        elif action in ("hold", "free"):
            with room.database.write() as session:
                holds.hold(session, uid, room.clock()) if action == "hold" else holds.free(session, uid)
        elif action == "days":
            room.clock.pass_by(10 * DAY)
        elif action == "full":
            full[0] = 99.0 - full[0]
        else:
            must = stays(room)
            keeper.turn()
            assert must <= offered(room)
        assert_whole(room)


def stays(room: Room) -> set[str]:
    """Said by the rows themselves, without the objections."""
    kept = room.rows(
        "SELECT DISTINCT study_uid FROM studies JOIN series ON study_id = studies.id"
        " JOIN instances ON series_id = series.id"
        " WHERE state = 'receiving' OR study_uid IN (SELECT study_uid FROM retention_holds)"
    )
    return {str(row["study_uid"]) for row in kept}
