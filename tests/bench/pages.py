"""``python -m tests.bench.pages [--quick] [--write]``: how long pages of lists take with 100,000 studies, over HTTP.

The rows are those of ``ledger``, with a name for every patient. Each page is asked for in turn, over one connection
that stays, after each was asked for once. Prints Markdown; ``--write`` puts it into the docs.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import httpx
from sqlalchemy import Table, insert

from node.db.key_tables import StudyKeys
from node.db.session import Database, sqlite_url
from node.web.pages.audit_page import AuditTrail
from node.web.pages.destinations import Destinations
from node.web.pages.reports import Reports
from node.web.pages.site import Site
from node.web.pages.studies import Studies
from node.web.server import Vitals, WebServer
from tests.admitted import everybody_here
from tests.bench import ledger
from tests.bench.page import machine, write_section
from tests.peers import LOOPBACK

STUDIES, WANTED_MS = 100_000, 200
HEADING = "Pages"
HTML = {"Accept": "text/html"}
PAGES: dict[str, Callable[[httpx.Client, str], httpx.Response]] = {
    "studies, newest": lambda client, _: client.get("/studies"),
    "studies, an old page": lambda client, cursor: client.get(cursor),
    "studies of a state": lambda client, _: client.get("/studies?state=analysed"),
    "studies of a modality": lambda client, _: client.get("/studies?modality=CT"),
    "studies of a day": lambda client, _: client.get("/studies?day=2020-02-03"),
    "a Patient ID": lambda client, _: client.post("/studies", data={"person": "P-77"}),
    "the beginning of a name": lambda client, _: client.post("/studies", data={"person": "Name 77"}),
    "audit, newest": lambda client, _: client.get("/audit"),
    "destinations": lambda client, _: client.get("/destinations"),
    "reports of 30 days": lambda client, _: client.get("/reports"),
}


def serve(database: Database) -> WebServer:
    site = Site("BENCH")
    name = "PACS@192.0.2.9:104"
    pages = (
        Studies(site, database),
        AuditTrail(site, database),
        Destinations(site, database, (name,), lambda _: "", lambda: ledger.BEGAN),
        Reports(site, database, lambda: ledger.BEGAN + timedelta(days=60)),
    )
    vitals = Vitals(list, dict)
    routes = [route for page in pages for route in page.routes()]
    server = WebServer(vitals, LOOPBACK, 0, routes, everybody_here(database), handlers=site.handlers())
    server.start()
    return server


def named(database: Database, studies: int) -> None:
    table: Table = StudyKeys.__table__  # type: ignore[assignment]
    rows = [
        {"study_id": n + 1, "patient_name": f"Name {n // 3}^Given", "birth_date": "19500101"} for n in range(studies)
    ]
    with database.engine.execution_options(lungnode_write=True).begin() as connection:
        connection.execute(insert(table), rows)


def measured(server: WebServer, rounds: int) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {name: [] for name in PAGES}
    with httpx.Client(base_url=f"http://{LOOPBACK}:{server.port}", headers=HTML, timeout=60) as client:
        cursor = _old(client)
        for number in range(rounds + 1):
            for name, ask in PAGES.items():
                began = time.perf_counter()
                answer = ask(client, cursor)
                passed = 1000 * (time.perf_counter() - began)
                assert answer.status_code == 200, (name, answer.status_code, answer.text[:300])
                if number:
                    found[name].append(passed)
    return found


def _old(client: httpx.Client) -> str:
    """The address of a page in the middle of the time."""
    page = client.get("/studies?day=2020-03-01").text
    cursor = page.split('href="/studies?day=2020-03-01&amp;after=')[1].split('"')[0]
    return f"/studies?after={cursor}"


def table(found: dict[str, list[float]], studies: int) -> str:
    lines = [
        f"SQLite with {studies:,} studies, {studies * ledger.EACH:,} findings and {studies * 2:,} deliveries. "
        f"Milliseconds of a whole answer over HTTP on loopback, {len(next(iter(found.values())))} of each.",
        "",
        "| page | median | slowest |",
        "|---|---:|---:|",
        *(f"| {name} | {statistics.median(times):.0f} | {max(times):.0f} |" for name, times in found.items()),
        "",
    ]
    first = statistics.median(found["studies, newest"])
    lines.append(
        f"Wanted: the first page in under {WANTED_MS} ms. {'Met' if first < WANTED_MS else 'Not met'}: {first:.0f} ms."
    )
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.bench.pages")
    parser.add_argument("--quick", action="store_true", help="small, to see that it runs")
    parser.add_argument("--write", action="store_true", help="into docs/benchmarks.md too")
    given = parser.parse_args()
    studies, rounds = (50_000, 3) if given.quick else (STUDIES, 11)
    parts = [machine()]
    with tempfile.TemporaryDirectory() as folder:
        database = Database(sqlite_url(Path(folder)), durable=False)
        ledger.fill(database, studies * ledger.EACH)
        named(database, studies)
        server = serve(database)
        parts.append(table(measured(server, rounds), studies))
        server.stop()
        database.close()
    body = "\n\n".join(parts)
    sys.stdout.write(f"## {HEADING}\n\n{body}\n")
    if given.write:
        write_section(HEADING, body)
    return 0


if __name__ == "__main__":
    sys.exit(main())
