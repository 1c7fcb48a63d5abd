"""Several lanes in one worker process: who may claim, what a process that dies leaves, and how it ends.

Lanes are threads over the real ledger; the processes that die are real ones. Not covered: a whole node with lanes
(tests/e2e/test_lanes.py).
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import select, update

from models.api import ImageInput, LungField, Prediction
from node.app import Supervisor
from node.core import settings
from node.core.job import MOST_KILLS, Job, JobKind, JobState
from node.db import jobs, quarantine, schema
from node.db.session import Database
from node.db.tables import JobRow
from node.folders import Folders
from node.pipeline.analyse import Analyse, ClaimLost
from node.queue.engine import Ledger
from node.queue.lanes import Gate
from node.queue.worker import Loop
from node.working import Claiming
from tests.films import Film, drawn, uid
from tests.peers import wait_until
from tests.pipeline.fakes import Fake
from tests.pipeline.test_judge import registry
from tests.pipeline.test_superseding import wishes
from tests.pipeline.waiting import Room

NOW = datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)
LANES = 3
SIDE = 96  # pixels of the film that kills


class Ward:
    """Jobs in a ledger, and lanes that are at them together. alone: which jobs have to be the only ones."""

    def __init__(self, room: Room, count: int, alone: set[int]) -> None:
        self.database, self.stop = room.database, threading.Event()
        self.gate = Gate(self.stop.is_set)
        self._guard, self._now = threading.Lock(), set[str]()
        self.seen: list[tuple[str, frozenset[str]]] = []  # each job, and what else ran when it began
        with self.database.write() as session:
            for number in range(count):
                jobs.add(session, JobKind.ANALYSE, number, f"{number}", NOW)
            session.execute(update(JobRow).where(JobRow.key.in_([str(n) for n in alone])).values(alone=True))

    def lane(self, number: int, handle: Callable[[Job], object]) -> Loop:
        claiming = Claiming(self.database, f"w/{number}", "", lambda: NOW, self.gate)
        return Loop(claiming, lambda job: self._one(job, handle), self._failed, self.gate.ended)

    def _one(self, job: Job, handle: Callable[[Job], object]) -> None:
        with self._guard:
            self.seen.append((job.key, frozenset(self._now)))
            self._now.add(job.key)
        try:
            handle(job)
        finally:
            with self._guard:
                self._now.discard(job.key)
        with self.database.write() as session:
            assert jobs.finish(session, job, NOW)

    def _failed(self, job: Job, error: Exception) -> None:
        with self.database.write() as session:
            jobs.give_back(session, job, NOW, "failed")

    def left(self) -> int:
        with self.database.read() as session:
            return jobs.ready(session, JobKind.ANALYSE) + len(
                session.scalars(select(JobRow.id).where(JobRow.state == JobState.RUNNING)).all()
            )

    def work(self, lanes: int, handle: Callable[[Job], object]) -> None:
        """All that there is."""
        loops = [self.lane(number, handle) for number in range(lanes)]
        working = threading.Thread(target=Ledger().work, args=(loops, self.stop, lambda: False))
        working.start()
        try:
            wait_until(lambda: not self.left(), 60, "all jobs are done")
        finally:
            self.stop.set()
            working.join(30)
        assert not working.is_alive()


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path)


@pytest.mark.parametrize("seed", range(3))
def test_what_has_to_be_alone_is_and_all_else_is_done_together(seed: int, room: Room) -> None:
    chance = random.Random(seed)
    alone = set(chance.sample(range(20), 5))
    ward, broken = Ward(room, 20, alone), {chance.randrange(20)}

    def handle(job: Job) -> None:
        time.sleep(0.01)
        if job.subject_id in broken and job.attempts == 1:
            raise ValueError("once")

    ward.work(4, handle)
    assert len(ward.seen) == 20 + len(broken)
    for key, others in ward.seen:
        assert not others & {str(n) for n in alone}, "nothing begins while one is alone"
        assert not others or int(key) not in alone
    assert any(others for _, others in ward.seen), "the lanes are at several at once"


def test_who_waits_to_be_alone_ends_when_the_process_is_to_end(room: Room) -> None:
    """The job stays for another worker."""
    ward, entered, go_on = Ward(room, 2, {1}), threading.Event(), threading.Event()

    def handle(_: Job) -> None:
        entered.set()
        assert go_on.wait(30)

    lanes = [ward.lane(number, handle) for number in range(2)]
    working = threading.Thread(target=Ledger().work, args=(lanes, ward.stop, lambda: False))
    working.start()
    assert entered.wait(30)
    wait_until(ward.gate._claiming.locked, 30, "the second lane waits")
    ward.stop.set()
    go_on.set()
    working.join(30)
    assert not working.is_alive() and [key for key, _ in ward.seen] == ["0"] and ward.left() == 1


class Killer(Fake):
    """Kills its process at sight of a film of one size, once so many are at theirs."""

    def __init__(self, together: int) -> None:
        super().__init__("one", "film", 0.9)
        self._met = threading.Barrier(together)

    def predict(self, given: object, lungs: LungField | None = None) -> Prediction:
        self._met.wait(60)
        if isinstance(given, ImageInput) and given.shape == (SIDE, SIDE):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().predict(given, lungs)  # type: ignore[arg-type]


def worker(folder: Path, together: int) -> None:
    """One worker process with three lanes: everything that is due."""
    room = Room(folder)
    room.clock.pass_by(200)
    systems = registry(one=Killer(together))
    analyse = Analyse(room.database, room.archive, systems, wishes(), "0.1.0", room.clock)
    stop = threading.Event()
    gate = Gate(stop.is_set)

    def failed(job: Job, error: Exception) -> None:
        os._exit(3)

    loops = [
        Loop(Claiming(room.database, f"w/{n}", "pipeline", room.clock, gate), analyse, failed, gate.ended)
        for n in range(LANES)
    ]

    def until_nothing_is_left() -> bool:
        with room.database.read() as session:
            return not session.scalars(select(JobRow.id).where(JobRow.state != JobState.DONE)).all()

    Ledger().work(loops, stop, until_nothing_is_left)
    os._exit(0)


def ended(folder: Path, together: int) -> int | None:
    process = multiprocessing.get_context("fork").Process(target=worker, args=(folder, together))
    process.start()
    process.join(120)
    return process.exitcode


@pytest.mark.timeout(240)
def test_of_three_studies_in_a_process_that_dies_the_one_that_kills_is_found(room: Room, tmp_path: Path) -> None:
    """The others are analysed, and none of them is blamed."""
    names = ("harmless", "deadly", "blameless")
    for number, name in enumerate(names):
        room.receive(Film(drawn(number + 1, SIDE if name == "deadly" else 128), name))
    room.clock.pass_by(100)
    room.close()
    codes = []
    while len(codes) < 9 and (not codes or codes[-1]):
        room.database.close()
        codes.append(ended(tmp_path, together=1 if codes else LANES))
        with room.database.write() as session:
            jobs.release(session, "w/", "its worker died")
    assert codes == [-signal.SIGKILL] * (1 + MOST_KILLS) + [0], "together once, then alone"
    rows = room.rows("SELECT study_uid, reason FROM analyses JOIN studies ON studies.id = study_id")
    said = {row["study_uid"]: row["reason"] for row in rows}
    reason = quarantine.sentence(MOST_KILLS, "its worker died")
    assert said == {uid("study", name): reason if name == "deadly" else "" for name in names}


class Slow(Fake):
    """While it judges, its node is taken for dead and the claim is given to others."""

    def __init__(self, room: Room) -> None:
        super().__init__("one", "film", 0.9)
        self._room = room

    def predict(self, given: object, lungs: LungField | None = None) -> Prediction:
        with self._room.database.write() as session:
            assert jobs.release(session, "w/", "its node was not heard of any more", stopped=True) == 1
        return super().predict(given, lungs)  # type: ignore[arg-type]


def test_who_has_lost_its_claim_writes_over_nobodys_files(room: Room) -> None:
    """Whoever has it now may have written the results, which need not be the same to the last bit."""
    room.receive(Film(drawn(1, 128), "slow"))
    room.clock.pass_by(100)
    room.close()
    with room.database.write() as session:
        job = jobs.claim(session, JobKind.ANALYSE, "w/1", "t", room.clock())
    assert job is not None
    before = room.archive.files()
    with pytest.raises(ClaimLost):
        Analyse(room.database, room.archive, registry(one=Slow(room)), wishes(), "0.1.0", room.clock)(job)
    assert room.archive.files() == before and not room.rows("SELECT id FROM analyses")


def test_a_claim_of_one_lane_is_not_that_of_another(any_database: Database) -> None:
    """What lane 1 held is let go by its name; lanes 2 and 11 go on."""
    lanes = ("n/worker-1/1", "n/worker-1/11", "n/worker-1/2", "n/worker-11/1")
    with any_database.write() as session:
        for number, lane in enumerate(lanes):
            jobs.add(session, JobKind.ANALYSE, number, lane, NOW)
            assert jobs.claim(session, JobKind.ANALYSE, lane, "t", NOW)
        assert jobs.release(session, "n/worker-1/1", "its claim was not heard of", stopped=True) == 1
        assert jobs.release(session, "n/worker-1/", "its worker died") == 2
        assert jobs.release(session, "n/", "its node went", stopped=True) == 1


@pytest.mark.parametrize("is_stopping, kills", [(False, 1), (True, 0)])
def test_a_worker_that_is_killed_by_the_end_of_the_node_died_of_nothing(
    is_stopping: bool, kills: int, tmp_path: Path
) -> None:
    """It had not ended when its time was over."""
    folders = Folders(tmp_path)
    folders.make()
    supervisor = Supervisor(settings.load(flags={("node", "dicom_port"): 0, ("node", "http_port"): 0}), folders)
    database = supervisor._database
    schema.migrate(database.engine)
    with database.write() as session:
        jobs.add(session, JobKind.ANALYSE, 1, "1", NOW)
        assert jobs.claim(session, JobKind.ANALYSE, f"{supervisor._member.owner}worker-1/1", "t", NOW)
    supervisor._is_stopping = is_stopping
    supervisor._release("worker-1")
    with database.read() as session:
        assert session.scalars(select(JobRow.kills)).one() == kills
        assert session.scalars(select(JobRow.state)).one() == JobState.READY
    for door in supervisor._doors.values():
        door.close()
    database.close()
