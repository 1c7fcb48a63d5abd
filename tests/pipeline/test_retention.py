"""Retention: what goes, what stays and why, and how much at most.

The disk's fullness and the clock are told by the test. Not covered: what is left when it is cut off (test_removal), the
running node (tests/e2e/test_keeping.py).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from node.core import settings
from node.core.job import JobKind
from node.core.study import StudyState
from node.db import commitments, holds, jobs
from node.db import retention as rows
from node.db.commitments import Asked
from node.pipeline.catalogue import Catalogue, Query
from node.pipeline.commitment import Commitments
from node.pipeline.query_keys import Level
from node.pipeline.retention import Decision, Retention
from node.pipeline.uses import Uses
from tests.pipeline.removing import (
    DAY,
    PACS,
    analysed,
    assert_whole,
    change,
    deliver,
    film,
    going,
    move,
    offered,
    retention,
    stored,
)
from tests.pipeline.waiting import Room


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path)


def objections(room: Room, uid: str, keeper: Retention) -> str:
    with room.database.read() as session:
        return "; ".join(
            said for one in rows.candidates(session, keeper.bounds()) if one.study_uid == uid for said in one.objections
        )


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
    change(room, "UPDATE analyses SET superseded = true")
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


def test_what_is_fetched_is_needed_and_noted_once_in_ten_minutes(room: Room) -> None:
    uid, passed = stored(room, "fetched"), [0.0]
    Catalogue(room.database, room.archive).held(Query(Level.STUDY, {"StudyInstanceUID": uid}, False))
    assert len(room.rows("SELECT study_id FROM study_uses")) == 1
    uses, times = Uses(room.database, room.clock, lambda: passed[0]), []
    room.clock.pass_by(10_000 * DAY)
    for seconds in (0.0, 599.0, 601.0):
        passed[0] = seconds
        uses.note([1, 1])
        times.append(room.rows("SELECT at FROM study_uses"))
        room.clock.pass_by(DAY)
    assert times[0] == times[1] != times[2]


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
