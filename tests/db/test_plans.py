"""What is asked for each instance, by the duties several times a second, and by C-FIND with a key: never a whole table.

By SQLite's own plan, which does not depend on how much there is, since nobody runs ANALYZE. Not covered: times
(``python -m tests.bench million``), queries by date or by part of a name, the questions of operators, PostgreSQL.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest
from sqlalchemy.orm import Session

from node.core.job import JobKind
from node.core.study import InstanceHeader, Origin
from node.db import catalogue, commitments, deliveries, destinations, fallback, intake, jobs, schema
from node.db.catalogue import Narrowed
from node.db.session import Database, sqlite_url

NOW = datetime(2024, 1, 2, tzinfo=UTC)
SLICE = InstanceHeader(
    sop_instance_uid="1.2.3", sop_class_uid="1.2.4", study_instance_uid="1.2.5", series_instance_uid="1.2.6",
    transfer_syntax_uid="1.2.7", patient_id="P", issuer_of_patient_id="", accession_number="A", study_date="20240102",
    modality="CT", series_description="", body_part="", view_position="", instance_number=1, rows=1, columns=1,
    frames=None, is_own_result=False,
)  # fmt: skip
ORIGIN = Origin("a", "B", "C", "d")
WITH_PLAN = re.compile("SELECT|INSERT|UPDATE|DELETE")
GROWING = re.compile(r"SCAN (patients|studies|series|instances|analyses|outputs|jobs|deliveries)\b")
ASKED: dict[str, Callable[[Session], object]] = {
    "known instance": lambda s: intake.known_instance(s.connection(), "1.2.3"),
    "new study": lambda s: intake.add_instance(
        s.connection(), SLICE, "0" * 64, 1, "p", Origin("a", "B", "C", "d"), NOW
    ),
    "receiving studies": intake.receiving_studies,
    "analyses due": lambda s: jobs.due(s, JobKind.ANALYSE, NOW),
    "analyses waiting": lambda s: jobs.ready(s, JobKind.ANALYSE),
    "next analysis": lambda s: jobs.next_due(s, JobKind.ANALYSE, NOW, "p"),
    "last received": lambda s: intake.last_received(s, 1),
    "last report": lambda s: fallback.takes_reports(s, "A@b:1", ("1.2",)),
    "deliveries due": lambda s: deliveries.due(s, NOW, 10),
    "destinations closed": lambda s: destinations.closed(s, NOW),
    "destinations to probe": lambda s: destinations.to_probe(s, NOW),
    "commitments due": lambda s: commitments.due(s, NOW, 10),
    "patient": lambda s: catalogue.patients(s, Narrowed(patient_id="P"), None, 10),
    "next patients": lambda s: catalogue.patients(s, Narrowed(), 5, 10),
    "studies of a patient": lambda s: catalogue.studies(s, Narrowed(patient_id="P"), None, 10),
    "accession number": lambda s: catalogue.studies(s, Narrowed(accession_number="A"), None, 10),
    "study": lambda s: catalogue.studies(s, Narrowed(study_uids=("1.2",)), None, 10),
    "next studies": lambda s: catalogue.studies(s, Narrowed(), 5, 10),
    "extent": lambda s: catalogue.extent(s, [1]),
    "objects": lambda s: catalogue.held(s, 1),
    "new series": lambda s: catalogue.undescribed(s, catalogue.Mark(5, 5), 10),
}


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    opened = Database(sqlite_url(tmp_path_factory.mktemp("plans")))
    schema.migrate(opened.engine)
    yield opened
    opened.close()


@pytest.mark.parametrize("what", ASKED)
def test_no_table_that_grows_is_read_from_end_to_end(database: Database, what: str) -> None:
    plan = _plan(database, ASKED[what])
    assert plan, "nothing was asked"
    assert not [line for line in plan if GROWING.search(line)], plan


def test_a_question_that_reads_a_whole_table_is_noticed(database: Database) -> None:
    plan = _plan(database, lambda s: catalogue.studies(s, Narrowed(days=("20240101", "20240102")), None, 10))
    assert [line for line in plan if GROWING.search(line)], plan


def _plan(database: Database, ask: Callable[[Session], object]) -> list[str]:
    """Of every statement that ``ask`` has SQLite execute, by SQLite's own account."""
    asked: list[str] = []
    with database.read() as session:  # whose end rolls back what was written
        connection = session.connection().connection.dbapi_connection
        assert isinstance(connection, sqlite3.Connection)
        connection.set_trace_callback(asked.append)
        try:
            ask(session)
        finally:
            connection.set_trace_callback(None)
        plans = [connection.execute(f"EXPLAIN QUERY PLAN {one}") for one in asked if WITH_PLAN.match(one)]
        return [str(row[3]) for plan in plans for row in plan]
