"""The job ledger: every pair of states, claims by token, races between threads and between processes, releases;
on both engines."""

from __future__ import annotations

import itertools
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, update

from node.core.job import NEXT, Job, JobKind, JobState
from node.db import jobs
from node.db.session import Database
from node.db.tables import JobRow

NOW = datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)
LATER = NOW + timedelta(minutes=5)


@pytest.fixture
def database(any_database: Database) -> Database:
    return any_database


def added(database: Database, count: int = 1, kind: JobKind = JobKind.DELIVER) -> None:
    with database.write() as session:
        for number in range(count):
            assert jobs.add(session, kind, number, f"key {number}", NOW)


def claimed(database: Database, token: str = "one") -> Job:
    with database.write() as session:
        job = jobs.claim(session, JobKind.DELIVER, "worker", token, NOW)
    assert job is not None
    return job


def state_of(database: Database) -> JobState:
    with database.read() as session:
        return JobState(session.scalars(select(JobRow.state)).one())


def put(database: Database, state: JobState) -> Job:
    """The one job of the ledger, in ``state``, with the claim that it had."""
    added(database)
    job = claimed(database)
    with database.write() as session:
        session.execute(update(JobRow).values(state=state))
    return job


@pytest.mark.parametrize("old", list(JobState))
def test_only_the_moves_of_the_table_happen(old: JobState, database: Database) -> None:
    job = put(database, old)
    with database.write() as session:
        done = {
            JobState.RUNNING: jobs.claim_one(session, job.id, "w", "t", NOW) is not None,
        }
        if old is not JobState.READY:
            done |= {JobState.DONE: jobs.finish(session, job, NOW)}
        session.rollback()
    with database.write() as session:
        withdrawn = jobs.withdraw(session, job.id, NOW, "x")
        assert withdrawn == (old is JobState.READY), "what somebody is at, or has ended, is not withdrawn"
        done[JobState.DONE] = done.get(JobState.DONE, False) or withdrawn
        session.rollback()
    with database.write() as session:
        parked = jobs.park(session, job, NOW, "x")
        session.rollback()
    with database.write() as session:
        ready = jobs.give_back(session, job, NOW, "x") or jobs.unpark(session, job.id, NOW)
        session.rollback()
    done |= {JobState.PARKED: parked, JobState.READY: ready}
    for new, happened in done.items():
        assert happened == (new in NEXT[old]), f"{old} to {new}"
    assert state_of(database) is old


def test_the_table_ends_in_done() -> None:
    assert NEXT[JobState.DONE] == frozenset()
    reached = {new for moves in NEXT.values() for new in moves}
    assert reached == set(JobState)
    assert all(a != b for a, b in itertools.chain(*[[(old, new) for new in moves] for old, moves in NEXT.items()]))


def test_the_same_key_is_added_once(database: Database) -> None:
    added(database)
    with database.write() as session:
        assert not jobs.add(session, JobKind.DELIVER, 9, "key 0", NOW)
        assert jobs.add(session, JobKind.ANALYSE, 9, "key 0", NOW)


def test_a_lost_claim_can_write_nothing(database: Database) -> None:
    added(database)
    old = claimed(database, "first")
    with database.write() as session:
        assert jobs.release(session, "worker", "gone") == 1
    new = claimed(database, "second")
    with database.write() as session:
        assert not jobs.holds(session, old) and jobs.holds(session, new)
        assert not jobs.finish(session, old, NOW)
        assert not jobs.give_back(session, old, NOW, "late")
        assert not jobs.park(session, old, NOW, "late")
        assert jobs.finish(session, new, NOW)
    assert state_of(database) is JobState.DONE
    assert new.attempts == 2


def test_what_waits_is_not_claimed_before_its_time(database: Database) -> None:
    added(database)
    job = claimed(database)
    with database.write() as session:
        assert jobs.give_back(session, job, LATER, "the peer is away")
        assert jobs.claim(session, JobKind.DELIVER, "w", "t", NOW) is None
        assert jobs.due(session, JobKind.DELIVER, NOW) == []
        again = jobs.claim(session, JobKind.DELIVER, "w", "t", LATER)
        assert again is not None and jobs.last_error(session, again) == "the peer is away"


def test_priority_then_time_then_age(database: Database) -> None:
    with database.write() as session:
        jobs.add(session, JobKind.ANALYSE, 1, "late", LATER)
        jobs.add(session, JobKind.ANALYSE, 2, "ct", NOW, priority=10)
        jobs.add(session, JobKind.ANALYSE, 3, "film", NOW)
    with database.write() as session:
        order = [jobs.claim(session, JobKind.ANALYSE, "w", str(n), LATER) for n in range(3)]
    assert [job.subject_id for job in order if job] == [3, 1, 2]


def test_release_takes_the_jobs_of_one_worker_or_of_all(database: Database) -> None:
    added(database, 3)
    with database.write() as session:
        for number, worker in enumerate(("a", "a%", "ab")):
            assert jobs.claim(session, JobKind.DELIVER, worker, str(number), NOW)
    with database.write() as session:
        assert jobs.release(session, "a", "gone") == 1
        assert jobs.release(session, "a%", "gone") == 1  # no pattern
        assert jobs.release(session, None, "stopped") == 1


def test_threads_never_claim_the_same_job(database: Database) -> None:
    added(database, 60)
    seen: list[int] = []
    guard = threading.Lock()

    def work(name: str) -> None:
        while True:
            with database.write() as session:
                job = jobs.claim(session, JobKind.DELIVER, name, name, NOW)
            if job is None:
                return
            with guard:
                seen.append(job.id)

    threads = [threading.Thread(target=work, args=(f"w{n}",)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(seen) == sorted(set(seen)) and len(seen) == 60


CLAIMER = """
import sys
from datetime import UTC, datetime
from node.core.job import JobKind
from node.db import jobs
from node.db.session import Database
database = Database(sys.argv[1])
while True:
    with database.write() as session:
        job = jobs.claim(session, JobKind.DELIVER, sys.argv[2], sys.argv[2], datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC))
    if job is None:
        break
    print(job.id, flush=True)
"""


def test_processes_never_claim_the_same_job(database: Database) -> None:
    added(database, 40)
    command = [sys.executable, "-c", CLAIMER, str(database.engine.url)]
    running = [subprocess.Popen([*command, f"p{n}"], stdout=subprocess.PIPE, text=True) for n in range(3)]
    seen = [int(line) for process in running for line in process.communicate(timeout=60)[0].split()]
    assert sorted(seen) == sorted(set(seen)) and len(seen) == 40


def test_the_end_of_the_whole_node_is_not_held_against_a_job_but_not_for_ever(database: Database) -> None:
    added(database)
    for _ in range(jobs.FORGIVEN_STOPS):
        assert claimed(database).attempts == 1
        with database.write() as session:
            jobs.release(session, None, "stopped")
    assert [claimed_after_a_stop(database) for _ in range(3)] == [1, 2, 3]


def analysing(database: Database, lanes: int) -> list[Job]:
    """What the lanes of worker w are at, one job each."""
    found = []
    with database.write() as session:
        for lane in range(lanes):
            job = jobs.claim(session, JobKind.ANALYSE, f"w/{lane}", "t", LATER)
            found += [job] if job else []
    return found


def dies(database: Database, *, stopped: bool = False) -> None:
    with database.write() as session:
        jobs.release(session, "w/", "its worker died", stopped=stopped)


def test_a_worker_that_dies_at_one_analysis_died_of_it(database: Database) -> None:
    added(database, kind=JobKind.ANALYSE)
    for kills in range(3):
        (job,) = analysing(database, lanes=1)
        assert (job.kills, job.attempts, job.alone) == (kills, kills + 1, kills > 0)
        dies(database)


def test_of_several_analyses_none_is_blamed_and_each_is_tried_alone(database: Database) -> None:
    added(database, 3, JobKind.ANALYSE)
    assert len(analysing(database, lanes=2)) == 2
    dies(database)
    after = [(job.kills, job.attempts, job.alone) for job in analysing(database, lanes=3)]
    assert after == [(0, 1, True), (0, 1, True), (0, 1, False)], "the third one was not there"


def test_a_worker_that_is_stopped_died_of_nothing(database: Database) -> None:
    added(database, kind=JobKind.ANALYSE)
    assert analysing(database, lanes=1)
    dies(database, stopped=True)
    (job,) = analysing(database, lanes=1)
    assert (job.kills, job.attempts, job.alone) == (0, 1, False)


def test_what_a_person_tries_again_has_killed_nobody(database: Database) -> None:
    added(database, kind=JobKind.ANALYSE)
    assert analysing(database, lanes=1)
    dies(database)
    (job,) = analysing(database, lanes=1)
    with database.write() as session:
        assert jobs.park(session, job, NOW, "given up") and jobs.unpark(session, job.id, NOW)
    (again,) = analysing(database, lanes=1)
    assert (again.kills, again.attempts) == (0, 1)


def claimed_after_a_stop(database: Database) -> int:
    job = claimed(database)
    with database.write() as session:
        jobs.release(session, None, "stopped")
    return job.attempts
