"""The next analysis of a backlog of 10,000 on a real PostgreSQL: found in the index of turns, whatever the server knows
of the table; pages that are read are counted, not time.

Not covered: SQLite, whose plans are in tests/db/test_plans.py; how long it takes (``python -m tests.bench backlog``).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import event, text

from node.core.job import JobKind
from node.db import jobs, schema
from node.db.session import Database
from tests.postgres import Postgres

JOBS, FEW_PAGES = 10_000, 40
FILL = text(
    "INSERT INTO jobs (kind, key, subject_id, payload, state, priority, attempts, next_at, turn_at, pipeline,"
    " claimed_by, created_at, error) SELECT 'analyse', 'key ' || n, n, '', 'ready', 0, 0, CAST(:now AS timestamp),"
    " CAST(:now AS timestamp) + n * interval '1 ms', 'models', '', CAST(:now AS timestamp), ''"
    " FROM generate_series(1, :jobs) AS n"
)


@pytest.fixture(scope="module")
def database(postgres: Postgres) -> Iterator[Database]:
    made = postgres.database()
    schema.migrate(made.engine)
    with made.write() as session:
        session.execute(text("ALTER TABLE jobs SET (autovacuum_enabled = false)"))
        session.execute(FILL, {"now": made.clock().replace(tzinfo=None), "jobs": JOBS})
    yield made
    made.close()


def pages(database: Database) -> int:
    """That the server reads to find the job whose turn it is."""
    asked: list[tuple[str, Any]] = []

    def note(_: object, __: object, statement: str, values: Any, *___: object) -> None:
        asked.append((statement, values))

    event.listen(database.engine, "before_cursor_execute", note)
    try:
        with database.read() as session:
            assert jobs.next_due(session, JobKind.ANALYSE, database.clock(), "models")
    finally:
        event.remove(database.engine, "before_cursor_execute", note)
    (found,) = [(statement, values) for statement, values in asked if "ORDER BY jobs.turn_at" in statement]
    with database.engine.connect() as connection:
        said = connection.exec_driver_sql(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {found[0]}", found[1]).scalar_one()
    plan = said[0]["Plan"]
    return int(plan["Shared Hit Blocks"]) + int(plan["Shared Read Blocks"])


def test_a_claim_reads_few_pages_whatever_the_server_knows_of_the_table(database: Database) -> None:
    assert pages(database) <= FEW_PAGES, "nobody has analysed the table yet"
    with database.engine.begin() as connection:
        connection.execute(text("ANALYZE jobs"))
    assert pages(database) <= FEW_PAGES
    with database.engine.begin() as connection:
        assert connection.execute(text("UPDATE jobs SET state = 'done' WHERE subject_id <= 200")).rowcount == 200
    pages(database)  # who comes first marks what is dead in the index
    assert pages(database) <= FEW_PAGES, "after many were done"
