"""A backlog of jobs in the ledger, on SQLite and on PostgreSQL: what adding, claiming and finishing one costs with few
and with many before it, asked in turns; then it is drained by one process that is killed in the middle and by another.

Every operation is a transaction of its own, as workers have them. SQLite syncs each of them to the disk; the
PostgreSQL of the tests does not sync.
"""

from __future__ import annotations

import multiprocessing
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import func, select

from node.core.job import Job, JobKind, JobState
from node.db import jobs, schema
from node.db.session import Database, sqlite_url
from node.db.tables import JobRow
from tests.peers import wait_until
from tests.postgres import Postgres

JOBS, FEW, SAMPLE = 10_000, 100, 100
FLAT = 1.5  # an operation among many may take so many times as long as among few
KIND = JobKind.ANALYSE


@dataclass(frozen=True)
class Costs:
    """Median milliseconds of one operation."""

    add: float
    claim: float
    finish: float


@dataclass(frozen=True)
class Drained:
    """killed_at: how many jobs were done then; seconds: of both processes together; lost: never done; again: claimed
    a second time, since their process was killed."""

    few: Costs
    many: Costs
    killed_at: int
    seconds: float
    done: int
    lost: int
    again: int


def measured(count: int = JOBS) -> str:
    """Markdown."""
    with tempfile.TemporaryDirectory(prefix="lungnode-backlog-") as folder, Postgres() as postgres:
        files = [Path(folder) / name for name in ("few", "many")]
        for file in files:
            file.mkdir()
        urls = {"SQLite": [sqlite_url(file) for file in files]}
        urls["PostgreSQL"] = [postgres.url(postgres.made()) for _ in files]
        found = {}
        for name, (few, many) in urls.items():
            found[name] = drained(few, many, count)
            sys.stderr.write(f"{name}: {found[name]}\n")
        return table(found, count)


def drained(few_url: str, url: str, count: int) -> Drained:
    """Two empty databases: filled and compared; the larger one drained with a kill in the middle."""
    few, database = _filled(few_url, FEW), _filled(url, count)
    costs = _costs(few, database)
    few.close()
    began, child = time.monotonic(), _drainer(url)
    half = count // 2
    wait_until(lambda: _in_state(database, JobState.DONE) >= half, 600, "half of the backlog is drained", every=0.02)
    child.kill()
    child.join()
    killed_at = _in_state(database, JobState.DONE)
    with database.write() as session:
        jobs.release(session, None, "the node was stopped")
    after = _drainer(url)
    after.join()
    seconds = time.monotonic() - began
    done = _in_state(database, JobState.DONE)
    with database.read() as session:
        claims = session.scalar(select(func.sum(JobRow.attempts + JobRow.stops))) or 0
        lost = (session.scalar(select(func.count()).select_from(JobRow)) or 0) - done
    database.close()
    return Drained(*costs, killed_at, seconds, done, lost, int(claims) - done)


def _filled(url: str, count: int) -> Database:
    database = Database(url)
    schema.migrate(database.engine)
    for begin in range(0, count, 500):
        with database.write() as session:
            for number in range(begin, min(begin + 500, count)):
                jobs.add(session, KIND, number, f"job {number}", database.clock())
    return database


def _costs(few: Database, many: Database) -> tuple[Costs, Costs]:
    """Of SAMPLE jobs more in each, which are done afterwards: so many wait as before."""
    times: dict[tuple[Database, str], list[float]] = defaultdict(list)
    for number in range(SAMPLE):
        for database in (few, many):
            claimed: list[Job | None] = []
            for name, operation in _operations(database, number, claimed).items():
                times[database, name].append(_milliseconds(operation))
    few_costs, many_costs = (
        Costs(*(statistics.median(times[database, name]) for name in ("add", "claim", "finish")))
        for database in (few, many)
    )
    return few_costs, many_costs


def _operations(database: Database, number: int, claimed: list[Job | None]) -> dict[str, Callable[[], None]]:
    def add() -> None:
        with database.write() as session:
            jobs.add(session, KIND, number, f"one more {number}", database.clock())

    def claim() -> None:
        with database.write() as session:
            claimed.append(jobs.claim(session, KIND, "worker", "token", database.clock()))

    def finish() -> None:
        (job,) = claimed
        with database.write() as session:
            assert job is not None and jobs.finish(session, job, database.clock())

    return {"add": add, "claim": claim, "finish": finish}


def _milliseconds(operation: Callable[[], None]) -> float:
    began = time.perf_counter()
    operation()
    return 1000 * (time.perf_counter() - began)


def _in_state(database: Database, state: JobState) -> int:
    with database.read() as session:
        return session.scalar(select(func.count()).select_from(JobRow).where(JobRow.state == state)) or 0


def _drainer(url: str) -> multiprocessing.process.BaseProcess:
    child = multiprocessing.get_context("spawn").Process(target=drain, args=(url,), daemon=True)
    child.start()
    return child


def drain(url: str) -> None:
    """Claim and finish until nothing is left."""
    database = Database(url)
    while True:
        with database.write() as session:
            job = jobs.claim(session, KIND, "worker", "token", database.clock())
        if job is None:
            return
        with database.write() as session:
            jobs.finish(session, job, database.clock())


def table(found: dict[str, Drained], count: int) -> str:
    lines = [
        f"A backlog of {count:,} jobs: median milliseconds of one operation with {FEW} and with {count:,} jobs waiting "
        f"(wanted: at most {FLAT:g} times as long), and how long it took to drain, the process killed in the middle.",
        "",
        "| database | add | claim | finish | worst ratio | killed when done were | lost | claimed again | drained |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, one in found.items():
        pairs = [(getattr(one.few, what), getattr(one.many, what)) for what in ("add", "claim", "finish")]
        worst = max(many / few for few, many in pairs)
        shown = " | ".join(f"{few:.1f}, {many:.1f}" for few, many in pairs)
        ratio = f"{worst:.2f}" if worst <= FLAT else f"**{worst:.2f}**"
        lines.append(
            f"| {name} | {shown} | {ratio} | {one.killed_at:,} | {one.lost} | {one.again} |"
            f" {one.seconds:.0f} s, {one.done / one.seconds:.0f}/s |"
        )
    return "\n".join(lines)
