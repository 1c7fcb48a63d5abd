"""``python -m tests.bench.queries [--quick] [--write]``: pages of stored results, 10,000 beside 1,000,000 findings.

Each question of ``QUESTIONS`` is asked for its newest page, for a page in the middle of the time, and for the page
after each, in turn on both databases; the 95th percentile is over all these. Queries run as the HTTP API runs them, up
to the rows in Python; HTTP itself is not in the figures. Prints Markdown; ``--write`` puts it into the docs.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest

from node.core.filters import parse
from node.db import figures, tallies
from node.db.queries import aggregate
from node.db.queries.pages import page
from node.db.queries.resources import RESOURCES
from node.db.session import Database, sqlite_url
from node.web.metrics import NodeMetrics, Readings
from tests.bench import ledger
from tests.bench.page import machine, write_section
from tests.peers import Absent
from tests.postgres import Postgres

SMALL, LARGE = 10_000, 1_000_000
HEADING = "Queries on stored results"
Question = tuple[str, dict[str, str], str]  # resource, filters, order
QUESTIONS: dict[str, Question] = {
    "newest": ("results", {}, ""),
    "one system, one class": ("results", {"system": "cxnet", "class": "covid19"}, ""),
    "system, class, probability from 0.9": (
        "results", {"system": "cxnet", "class": "covid19", "min_probability": "0.9"}, ""),
    "most probable of a class": ("results", {"system": "two-step", "class": "pneumonia"}, "-probability"),
    "decided, from one sender": ("results", {"calling_aet": "CR_ROOM_7", "decision": "yes"}, ""),
    "a rare sender": ("results", {"calling_aet": "RARE"}, ""),
    "a rare sender, one system, version": (
        "results", {"calling_aet": "RARE", "system": "cnncf-xr", "version": "1.0.0"}, ""),
    "modality, most certain": ("results", {"modality": "CT", "min_probability": "0.99"}, ""),
    "system, version, a narrow range": (
        "results", {"system": "patch-vote", "version": "1.1.0", "min_probability": "0.98",
                    "max_probability": "0.985"}, ""),
    "one patient": ("results", {"patient_id": "P-123", "issuer": "HOSPITAL"}, ""),
    "one accession number": ("results", {"accession": "A-321"}, ""),
    "not yet delivered": ("results", {"delivered": "no"}, ""),
    "delivered, one class": ("results", {"delivered": "yes", "class": "normal"}, ""),
    "analyses": ("analyses", {}, ""),
    "deliveries that wait": ("deliveries", {"state": "waiting"}, ""),
    "deliveries to one place": ("deliveries", {"destination": "PACS@192.0.2.9:104"}, ""),
}  # fmt: skip


def once(database: Database, question: Question, until: str, cursor: str = "") -> tuple[float, str]:
    """Milliseconds of one page, and the cursor of the next."""
    name, filters, sort = question
    given = {**filters, "until": until} if until else filters
    resource = RESOURCES[name]
    began = time.perf_counter()
    with database.read() as session:
        found = page(session, resource, parse(given, resource.filters), sort, cursor=cursor)
    return (time.perf_counter() - began) * 1000, found.next or ""


def measure(databases: Sequence[Database], sizes: Sequence[int], rounds: int) -> dict[str, list[list[float]]]:
    """Milliseconds by question, for each database."""
    chance = random.Random(2)
    times: dict[str, list[list[float]]] = {name: [[] for _ in databases] for name in QUESTIONS}
    for turn in range(rounds):
        for name, question in QUESTIONS.items():
            share = chance.uniform(0.2, 0.9)
            for place, (database, size) in enumerate(zip(databases, sizes, strict=True)):
                middle = ledger.BEGAN + timedelta(minutes=2 * share * size / ledger.EACH)
                for until in ("", middle.isoformat()):
                    first, cursor = once(database, question, until)
                    found = [first, once(database, question, until, cursor)[0]] if cursor else [first]
                    if turn:  # the first turn warms the caches of both
                        times[name][place] += found
    return times


def p95(values: Sequence[float]) -> float:
    return statistics.quantiles(values, n=20)[-1]


def table(times: dict[str, list[list[float]]]) -> Iterator[str]:
    yield f"| question | {SMALL:,}: median, p95 ms | {LARGE:,}: median, p95 ms | p95, times as long |"
    yield "|---|---|---|---|"
    sides = [[one for found in times.values() for one in found[place]] for place in (0, 1)]
    for name, (small, large) in {**times, "**all**": sides}.items():
        figures = [f"{statistics.median(values):.1f}, {p95(values):.1f}" for values in (small, large)]
        yield f"| {name} | {figures[0]} | {figures[1]} | {p95(large) / p95(small):.2f} |"


def _aggregates(database: Database) -> float:
    """Milliseconds of the counts and means of a month (a quarter of the rows), by day, system and class."""
    month = parse({"since": "2020-02-01", "until": "2020-03-01"}, aggregate.FILTERS)
    began = time.perf_counter()
    with database.read() as session:
        aggregate.aggregate(session, month, aggregate.USUAL)
    return (time.perf_counter() - began) * 1000


def _scrape(database: Database, size: int) -> tuple[float, float]:
    """Milliseconds of one scrape of the metrics, and of what the duty reads for it, the newest day."""
    with database.write() as session:
        for number in range(200):
            tallies.analysis(session, {f"model.{system}": number / 10 for system in ledger.SYSTEMS}, float(number))
    newest = ledger.BEGAN + timedelta(minutes=2 * size / ledger.EACH)
    began = time.perf_counter()
    with database.read() as session:
        readings = Readings(figures.read(session))
    registry = CollectorRegistry()
    registry.register(NodeMetrics(lambda: readings))
    generate_latest(registry)
    asked = time.perf_counter()
    with database.read() as session:
        figures.recent(session, newest - timedelta(days=1))
    return (asked - began) * 1000, (time.perf_counter() - asked) * 1000


def _warm(database: Database) -> None:
    """Into the cache of the operating system, where a database that is asked all day has its file."""
    if database.engine.dialect.name == "sqlite":
        with Path(str(database.engine.url.database)).open("rb") as file:
            while file.read(1 << 24):
                pass


def report(name: str, databases: Sequence[Database], sizes: Sequence[int], rounds: int) -> str:
    for database, size in zip(databases, sizes, strict=True):
        sys.stderr.write(f"{name}: {size:,} findings are made\n")
        ledger.fill(database, size)
        _warm(database)
    sys.stderr.write(f"{name}: asked\n")
    lines = "\n".join(table(measure(databases, sizes, rounds)))
    month = statistics.median(_aggregates(databases[-1]) for _ in range(3))
    scrapes = [_scrape(databases[-1], sizes[-1]) for _ in range(5)]
    scrape, day = (statistics.median(found[place] for found in scrapes) for place in (0, 1))
    return (
        f"### {name}\n\n{lines}\n\nAmong {sizes[-1]:,}: counts and means of a month {month:.0f} ms; a scrape of the "
        f"metrics {scrape:.0f} ms, and what a duty reads for it, the newest day, {day:.0f} ms.\n"
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.bench.queries")
    parser.add_argument("--quick", action="store_true", help="small, to see that it runs")
    parser.add_argument("--write", action="store_true", help="into docs/benchmarks.md too")
    given = parser.parse_args()
    sizes, rounds = ((1200, 2400), 3) if given.quick else ((SMALL, LARGE), 11)
    parts = [machine()]
    with ExitStack() as stack:
        folders = [Path(stack.enter_context(tempfile.TemporaryDirectory())) for _ in sizes]
        parts.append(
            report("SQLite", [Database(sqlite_url(folder), durable=False) for folder in folders], sizes, rounds)
        )
        try:
            server = stack.enter_context(Postgres())
            parts.append(report("PostgreSQL", [server.database() for _ in sizes], sizes, rounds))
        except Absent as absent:
            parts.append(f"PostgreSQL was not measured: {absent}.\n")
    body = "\n\n".join(parts)
    sys.stdout.write(f"## {HEADING}\n\n{body}\n")
    if given.write:
        write_section(HEADING, body)
    return 0


if __name__ == "__main__":
    sys.exit(main())
