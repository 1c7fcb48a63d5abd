"""While the database cannot be written: who waits, fails with the others at once; who held something, gives it back
later; and nothing of it counts against a study.

The database fails by a replaced ``write``; one that fails in truth is in tests/faults/test_disks.py.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from node.core.job import Job, JobKind
from node.db import jobs
from node.db.group import GroupCommit
from node.queue import worker
from node.queue.lanes import Gate
from node.queue.worker import Loop
from node.working import Claiming
from tests.peers import wait_until
from tests.pipeline.test_deliver import PACS, TAKEN, Peer, deliver, ledger, turn
from tests.pipeline.waiting import Room

LOCKED = OperationalError("BEGIN IMMEDIATE", {}, sqlite3.OperationalError("database is locked"))
NOW = datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path)


def test_waiters_fail_together(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """One wait for all of them, not one for each."""
    group, failed, tries = GroupCommit(room.database), list[Exception](), list[int]()

    def write() -> None:
        tries.append(1)
        raise LOCKED

    def one() -> None:
        try:
            group.run(lambda connection: None)
        except OperationalError as error:
            failed.append(error)

    monkeypatch.setattr(room.database, "writing", write)
    threads = [threading.Thread(target=one, daemon=True) for _ in range(6)]
    with group._turn:  # so that they form one group
        for thread in threads:
            thread.start()
        wait_until(lambda: len(group._waiting) == 6, 20, "all wait")
    for thread in threads:
        thread.join(10)
    assert (len(tries), len(failed)) == (1, 6)


def test_a_delivery_that_broke_off_is_due_again(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was taken, and the ledger could not be written: the same bytes go out once more, and it ends."""
    outputs = room.analysed([PACS])
    peer = Peer(TAKEN)
    duty = deliver(room, peer)
    write = room.database.write

    def breaks(*_: object, **__: object) -> None:
        """From here on nothing can be written."""
        monkeypatch.setattr(room.database, "write", fails)
        raise LOCKED

    def fails() -> None:
        raise LOCKED

    with monkeypatch.context() as patch:
        patch.setattr(type(duty), "_note", breaks)
        turn(duty)
        duty.pump()  # not by a thread beside what it still holds
        with pytest.raises(OperationalError):
            duty.let_go()
    monkeypatch.setattr(room.database, "write", write)
    duty.let_go()
    turn(deliver(room, peer))  # another node does the deliveries by now
    assert {row["state"] for row in ledger(room)} == {"delivered"}
    assert sorted(uid for _, uid in peer.got) == sorted(outputs * 2)


def test_a_claim_that_nobody_heard_of_is_let_go(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server committed it and the answer was lost: whoever claimed lives on, and is at nothing."""
    with room.database.write() as session:
        jobs.add(session, JobKind.ANALYSE, 1, "heard", NOW)
        jobs.add(session, JobKind.ANALYSE, 2, "other", NOW)
        other = jobs.claim_one(session, 2, "worker-2", "token", NOW)
    claim, write = Claiming(room.database, "worker-1", "", room.clock, Gate(lambda: False)), room.database.write

    @contextmanager
    def unheard() -> Iterator[Session]:
        with write() as session:
            yield session
        raise LOCKED

    monkeypatch.setattr(room.database, "write", unheard)
    with pytest.raises(OperationalError):
        claim(None)
    monkeypatch.setattr(room.database, "write", write)
    job = claim(None)
    assert job is not None and (job.key, job.attempts) == ("heard", 1), "and it counts for nothing"
    assert claim(None) is None
    with room.database.read() as session:
        assert jobs.holds(session, job) and other is not None and jobs.holds(session, other)


def test_a_job_that_was_named_is_asked_for_until_the_answer_is_heard() -> None:
    """As the task of Procrastinate does, which names it but once."""
    job, asked, done = Job(1, JobKind.ANALYSE, 1, "key", 1, "t", NOW), list[int | None](), list[Job]()

    def claim(number: int | None) -> Job:
        asked.append(number)
        if len(asked) < 3:
            raise LOCKED
        return job

    def fails(*_: object) -> None:
        raise AssertionError("nothing failed")

    Loop(claim, done.append, fails).one(1, lambda: False)
    assert asked == [1, 1, 1] and done == [job]
    asked.clear()
    Loop(claim, done.append, fails).one(1, lambda: True)
    assert asked == [1] and done == [job], "not where the process has to end"


def test_a_worker_waits_until_it_can_give_its_job_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "RETRY_SECONDS", 0.01)
    stop, given_back, todo = threading.Event(), list[Exception](), [Job(1, JobKind.ANALYSE, 1, "key", 1, "t", NOW)]

    def handle(_: Job) -> None:
        raise ValueError("of the study")

    def failed(_: Job, error: Exception) -> None:
        given_back.append(error)
        if len(given_back) < 3:
            raise LOCKED
        stop.set()

    Loop(lambda _: todo.pop() if todo else None, handle, failed).run(stop, lambda: False)
    assert [str(error) for error in given_back] == ["of the study"] * 3


def test_a_worker_whose_supervisor_is_gone_waits_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "RETRY_SECONDS", 0.01)
    gone, todo = threading.Event(), [Job(1, JobKind.ANALYSE, 1, "key", 1, "t", NOW)]

    def breaks(*_: object) -> None:
        gone.set()
        raise LOCKED

    Loop(lambda _: todo.pop() if todo else None, breaks, breaks).run(threading.Event(), gone.is_set)


def test_a_job_that_is_postponed_had_no_attempt(room: Room) -> None:
    now = room.clock()
    with room.database.write() as session:
        jobs.add(session, JobKind.ANALYSE, 1, "key", now)
    for _ in range(5):
        with room.database.write() as session:
            job = jobs.claim(session, JobKind.ANALYSE, "w", "t", now)
            assert job is not None and job.attempts == 1
            now += timedelta(seconds=3)
            assert jobs.postpone(session, job, now, "The archive has no room left.")
            assert not jobs.postpone(session, job, now, "twice")
            assert jobs.claim(session, JobKind.ANALYSE, "w", "t", now - timedelta(seconds=1)) is None
