"""Who rests looks at no table, and misses nothing that is committed, at whatever moment of a look that is.

Counts statements; how long anything takes is not asserted. Not covered: the node as a process, whose whole way is in
tests/e2e, and what a mark is (tests/db/test_changes.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, event

from node.core.job import JobKind
from node.db import jobs
from node.db.driver import Rendered, Values
from node.db.session import Database
from node.pipeline.completeness import none_is_open
from node.queue.lanes import Gate
from node.queue.rest import LONGEST_SECONDS, Rest, resting
from node.working import Claiming
from tests.films import Film, drawn
from tests.peers import wait_until
from tests.pipeline.test_commitment import Committer, says_nothing
from tests.pipeline.test_deliver import FULL, PACS, TAKEN, Peer, deliver, turn
from tests.pipeline.waiting import SETTINGS, Clock, Room

NOW = datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)


class Table:
    """Something to do, and when who looks may have missed it: a commit before, during or after a look."""

    def __init__(self) -> None:
        self.commits, self.waiting, self.done, self.now = 0, 0, 0, 0.0
        self.during = 0  # commits that come in the midst of the next look, once it has read

    def commit(self, number: int) -> None:
        self.commits, self.waiting = self.commits + number, self.waiting + number

    def look(self) -> bool:
        found, self.waiting = self.waiting, 0
        self.done += found
        self.commit(self.during)
        self.during = 0
        return not found


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), st.floats(0, LONGEST_SECONDS / 2))))
def test_what_was_committed_is_found_by_the_next_look(steps: list[tuple[int, int, float]]) -> None:
    table = Table()
    look = resting(table.look, Rest(lambda: table.commits, lambda: table.now))
    for before, during, seconds in steps:
        table.commit(before)
        table.during, table.now = during, table.now + seconds
        look()
        assert table.waiting in (0, during)
    look()
    assert table.done == table.commits - table.waiting and not table.waiting


def test_a_mark_that_stands_still_is_not_believed_for_ever() -> None:
    table = Table()
    look = resting(table.look, Rest(lambda: "stands still", lambda: table.now))
    look()
    table.commit(1)
    look()
    assert not table.done, "it rests"
    table.now += LONGEST_SECONDS
    look()
    assert table.done == 1


def test_a_look_that_fails_is_taken_again() -> None:
    looks = list[int]()

    def fails() -> bool:
        looks.append(1)
        raise OSError

    look = resting(fails, Rest(lambda: 1))
    for _ in range(3):
        with pytest.raises(OSError):
            look()
    assert len(looks) == 3


@contextmanager
def counted(database: Database) -> Iterator[list[str]]:
    """Statements that are run on it, by SQLAlchemy or past it."""
    found, run = list[str](), Rendered.run

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        found.append(statement)

    def noted(self: Rendered, connection: Connection, values: Values) -> Any:
        found.append(str(values))
        return run(self, connection, values)

    event.listen(database.engine, "before_cursor_execute", note)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Rendered, "run", noted)
        yield found
    event.remove(database.engine, "before_cursor_execute", note)


@pytest.fixture
def other(any_database: Database) -> Iterator[Database]:
    made = Database(any_database.engine.url.render_as_string(hide_password=False))
    yield made
    made.close()


def claiming(database: Database, clock: Callable[[], datetime]) -> Claiming:
    return Claiming(database, "w/1", "ours", clock, Gate(lambda: False))


def add(database: Database, key: str, at: datetime = NOW) -> None:
    with database.write() as session:
        jobs.add(session, JobKind.ANALYSE, 1, key, at, pipeline="ours")


def test_a_worker_that_rests_looks_at_no_table_and_claims_what_comes(any_database: Database, other: Database) -> None:
    claim = claiming(any_database, lambda: NOW)

    def rests() -> bool:
        """PostgreSQL has work of its own, which ends a rest too."""
        with counted(any_database) as statements:
            assert claim(None) is None
        return not statements

    for number in range(3):
        wait_until(rests, 60, "a turn without a statement", every=0)
        add(other, f"{number}")
        job = claim(None)
        assert job is not None and job.key == f"{number}"


def test_a_worker_does_not_rest_while_a_job_waits_for_its_time(any_database: Database, other: Database) -> None:
    clock = Clock(NOW)
    claim = claiming(any_database, clock)
    add(other, "later", NOW + timedelta(seconds=60))
    for _ in range(3):
        assert claim(None) is None
    clock.pass_by(61)
    job = claim(None)
    assert job is not None and job.key == "later"


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path)


def test_deliveries_rest_when_nothing_is_owed(room: Room) -> None:
    """Not while one is under way, nor before its next try."""
    peer = Peer(FULL, TAKEN)
    duty = deliver(room, peer, backoff_seconds=(60.0,))
    assert duty.pump()
    room.analysed([PACS])
    peer.gate.clear()
    assert not duty.pump() and not duty.pump()
    peer.gate.set()
    duty.drain(60)
    assert not duty.pump(), "one waits for its next try"
    room.clock.pass_by(61)
    turn(duty)
    assert duty.pump()


def test_studies_rest_when_none_is_open(room: Room) -> None:
    assert none_is_open(room.database)
    room.receive(Film(drawn(1, 64), "rests"))
    assert not none_is_open(room.database)
    room.clock.pass_by(SETTINGS.hard_limit_seconds)
    assert room.close() and none_is_open(room.database)


def test_reports_of_commitment_rest_when_everybody_was_told(room: Room) -> None:
    commitments = Committer(room, says_nothing).commitments
    assert commitments.pump(lambda *_: "")
    commitments.take("2.25.1", "MODALITY", "127.0.0.1", [("1.2.3", "1.2.3.4")])
    assert not commitments.pump(lambda *_: ""), "it is not due yet"
    room.clock.pass_by(3)
    assert not commitments.pump(lambda *_: "it is away"), "it is told"
    assert not commitments.pump(lambda *_: ""), "it waits for the next try"
    room.clock.pass_by(60)
    commitments.pump(lambda *_: "")
    assert commitments.pump(lambda *_: "")
