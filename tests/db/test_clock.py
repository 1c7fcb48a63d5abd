"""A clock that is set back by any length, at any moment: what waited goes on after its pause at most, and only once.

Not covered: one that is set forward, which closes studies early (docs/operations.md), and the node as a process
(tests/faults/test_disks.py).
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from node.core.job import JobKind
from node.core.study import StudyState
from node.db import clock, destinations, jobs
from tests.films import CR, Film, drawn
from tests.pipeline.waiting import Room

BACK = [3, 3600, 400 * 86400]


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path)


def follow(room: Room) -> int:
    with room.database.write() as session:
        found = clock.set_back(session, room.clock())
        moved = clock.go_on(session, room.clock())
    assert found == bool(moved)
    return moved


@pytest.mark.parametrize("seconds", BACK)
def test_a_study_that_is_received_waits_for_its_quiet_time_once_more(room: Room, seconds: int) -> None:
    room.receive(Film(drawn(1, 64), "one", "study", sop_class=CR))
    assert follow(room) == 0
    room.clock.pass_by(-seconds)
    assert (follow(room), follow(room)) == (1, 0)
    assert room.close() == []
    room.clock.pass_by(11)
    assert len(room.close()) == 1
    assert clock.SENTENCE in room.events()


@pytest.mark.parametrize("seconds", BACK)
def test_a_job_is_due_at_once_and_its_next_pause_is_kept(room: Room, seconds: int) -> None:
    with room.database.write() as session:
        assert jobs.add(session, JobKind.ANALYSE, 1, "key", room.clock())
    room.clock.pass_by(-seconds)
    with room.database.read() as session:
        assert jobs.due(session, JobKind.ANALYSE, room.clock()) == []
    created = room.rows("SELECT created_at FROM jobs")
    assert follow(room) == 1
    with room.database.write() as session:
        job = jobs.claim(session, JobKind.ANALYSE, "w", "t", room.clock())
        assert job is not None
        jobs.give_back(session, job, room.clock() + timedelta(seconds=60), "later")
    assert follow(room) == 0, "a pause that was given since is a pause"
    assert room.rows("SELECT created_at FROM jobs") == created, "it is in the bytes of the results"


def test_a_destination_that_was_away_is_asked_now(room: Room) -> None:
    with room.database.write() as session:
        destinations.unanswered(session, "PACS", "no answer", room.clock(), 1, lambda n: timedelta(hours=1))
    assert follow(room) == 0
    room.clock.pass_by(-3600)
    assert (follow(room), follow(room)) == (1, 0)
    with room.database.read() as session:
        assert destinations.standing(session, "PACS").probe_at == room.clock()


def test_a_nudge_and_what_is_done_are_left_alone(room: Room) -> None:
    room.receive(Film(drawn(1, 64), "one", "study", sop_class=CR))
    room.clock.pass_by(-1)
    assert follow(room) == 0
    with room.database.write() as session:
        session.execute(text("UPDATE studies SET state = :state"), {"state": StudyState.ANALYSED})
    room.clock.pass_by(-3600)
    assert follow(room) == 0
