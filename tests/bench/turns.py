"""``python -m tests.bench.turns [--write]``: rows of receipt and turns of the queue, on SQLite and on PostgreSQL.

Both on this machine's disk, synced at each commit. Receipt: rows of instances in group commits, by one sender and by
eight at once, without files and headers. The queue: one job claimed and given back, with 100 and with 10,000 waiting.
Each step in turn on all databases, so that the machine is the same; the median of ``ROUNDS``.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from node.core.job import JobKind
from node.core.study import InstanceHeader, Origin
from node.db import intake, jobs, schema
from node.db.group import GroupCommit
from node.db.session import Database, sqlite_url
from tests.bench.page import machine, write_section
from tests.postgres import Postgres

ROUNDS, INSTANCES, SENDERS, CLAIMS = 5, 160, 8, 20
WAITING = (100, 10_000)
NUMBERS = itertools.count()  # no instance comes twice
HEADING = "SQLite and PostgreSQL"
NOW = datetime(2026, 1, 2, tzinfo=UTC)
ORIGIN = Origin("a", "MODALITY", "LUNGNODE", "192.0.2.1")


def _header(number: str) -> InstanceHeader:
    return InstanceHeader(
        sop_instance_uid=f"1.2.{number}", sop_class_uid="1.2.4", study_instance_uid="1.2.5",
        series_instance_uid="1.2.6", transfer_syntax_uid="1.2.7", patient_id="P", issuer_of_patient_id="",
        accession_number="A", study_date="20260102", modality="CT", series_description="", body_part="",
        view_position="", instance_number=1, rows=512, columns=512, frames=None, is_own_result=False,
    )  # fmt: skip


def _receive(database: Database, senders: int, name: int) -> float:
    """Milliseconds an instance."""
    group = GroupCommit(database)

    def send(sender: int) -> None:
        for number in range(INSTANCES // senders):
            header = _header(f"{name}.{sender}.{number}")
            group.run(lambda c, header=header: intake.add_instance(c, header, "0" * 64, 1, "p", ORIGIN, NOW))  # type: ignore[misc]

    threads = [threading.Thread(target=send, args=(sender,)) for sender in range(senders)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return (time.perf_counter() - began) * 1000 / INSTANCES


def _fill(database: Database, waiting: int) -> None:
    with database.write() as session:
        there = jobs.ready(session, JobKind.ANALYSE)
        for number in range(there, waiting):
            jobs.add(session, JobKind.ANALYSE, number, f"key {waiting} {number}", NOW, priority=10 * (number % 2))


def _claim(database: Database) -> float:
    """Milliseconds for a claim and its end, two transactions; the job waits again."""
    began = time.perf_counter()
    for number in range(CLAIMS):
        with database.write() as session:
            job = jobs.claim(session, JobKind.ANALYSE, "w", str(number), NOW)
        assert job is not None
        with database.write() as session:
            assert jobs.give_back(session, job, NOW, "")
    return (time.perf_counter() - began) * 1000 / CLAIMS


def measure(databases: Sequence[Database]) -> list[tuple[str, float, float]]:
    """(what, milliseconds on SQLite, on PostgreSQL). databases: of each engine one for each of ``WAITING``."""
    sqlite, server = databases[: len(WAITING)], databases[len(WAITING) :]
    for database in databases:
        schema.migrate(database.engine)
    found = []
    for senders in (1, SENDERS):
        one, other = _medians((sqlite[0], server[0]), lambda database, turn, n=senders: _receive(database, n, turn))  # type: ignore[misc]
        found.append((f"an instance's rows, {senders} at once", one, other))
    for several in (sqlite, server):
        for database, waiting in zip(several, WAITING, strict=True):
            _fill(database, waiting)
    claims = _medians(databases, lambda database, _: _claim(database))
    for place, waiting in enumerate(WAITING):
        found.append((f"a job claimed and given back, {waiting:,} wait", claims[place], claims[len(WAITING) + place]))
    return found


def _medians(databases: Sequence[Database], step: Callable[[Database, int], float]) -> list[float]:
    turns = [[step(database, next(NUMBERS)) for database in databases] for _ in range(ROUNDS)]
    return [statistics.median(turn[place] for turn in turns) for place in range(len(databases))]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="into docs/benchmarks.md")
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, Postgres(fsync=True) as server:
        folders = [Path(folder) / str(waiting) for waiting in WAITING]
        for one in folders:
            one.mkdir()
        found = measure([*(Database(sqlite_url(one)) for one in folders), *(server.database() for _ in WAITING)])
    lines = [f"| {what} | {one:.2f} ms | {other:.2f} ms | {other / one:.2f} |" for what, one, other in found]
    page = "\n".join(
        (f"{machine()}\n", "`python -m tests.bench.turns --write`: medians; see the command for what is measured.\n",
         "| step | SQLite | PostgreSQL | ratio |", "|---|---|---|---|", *lines, "")
    )  # fmt: skip
    sys.stdout.write(page)
    if wanted.write:
        write_section(HEADING, page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
