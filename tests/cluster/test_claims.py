"""The next analysis of a backlog of 10,000 on a real PostgreSQL: found in the index of turns, whatever the server knows
of the table; pages that are read are counted, not time.

Not covered: SQLite, whose plans are in tests/db/test_plans.py; how long it takes (``python -m tests.bench backlog``).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import text

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
    with database.read() as session:
        driver: Any = session.connection().connection.dbapi_connection
        usual, asked = driver.cursor_factory, list[tuple[str, Any]]()

        class Noting(usual):  # type: ignore[misc]
            def execute(self, query: Any, values: Any = None, **more: Any) -> Any:
                asked.append((query, values))
                return super().execute(query, values, **more)

        driver.cursor_factory = Noting
        try:
            assert jobs.next_due(session, JobKind.ANALYSE, database.clock(), "models")
        finally:
            driver.cursor_factory = usual
        (found,) = [(query, values) for query, values in asked if "ORDER BY jobs.turn_at" in query]
        (said,) = driver.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {found[0]}", found[1]).fetchone()
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
