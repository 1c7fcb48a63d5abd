"""Statements on the driver's cursor do what SQLAlchemy's own way does: the same rows, types, defaults and errors.

Not covered: speed, and what receipt makes of the errors (tests/dimse, tests/db/test_group.py).
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Table, bindparam, insert, select, update
from sqlalchemy.exc import IntegrityError, OperationalError

from node.db import schema
from node.db.driver import Rendered
from node.db.session import Database, sqlite_url
from node.db.tables import JobRow, Study
from tests.conftest import ENGINES

TABLE = Study.__table__
assert isinstance(TABLE, Table)
NAMED = ("study_uid", "patient_id", "state", "first_received_at", "last_received_at", "opened_at", "accession_number")
ADD = Rendered(insert(TABLE), NAMED)
TOUCH = Rendered(update(TABLE).where(TABLE.c.study_uid == bindparam("uid")).values(opened_at=bindparam("now")))
FIND = Rendered(select(TABLE.c.id, TABLE.c.state).where(TABLE.c.study_uid == bindparam("uid")))
JOBS = JobRow.__table__
assert isinstance(JOBS, Table)
READ = (
    select(JOBS.c.id, JOBS.c.kind, JOBS.c.alone, JOBS.c.next_at, JOBS.c.claimed_at)
    .where(JOBS.c.key == bindparam("named"), JOBS.c.state == "ready", ~JOBS.c.alone)
    .order_by(JOBS.c.id)
    .limit(2)
)
ADD_JOB = Rendered(
    insert(JOBS).returning(JOBS.c.next_at, JOBS.c.alone),
    ("kind", "key", "subject_id", "state", "next_at", "turn_at", "created_at"),
)
READ_JOBS = Rendered(READ)
TIMES = st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))


@pytest.fixture(scope="module", params=ENGINES)
def database(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Database:
    if request.param == "sqlite":
        database = Database(sqlite_url(tmp_path_factory.mktemp("driver")), durable=False)
    else:
        database = request.getfixturevalue("postgres").database()
    schema.migrate(database.engine)
    with database.write() as session:
        session.connection().exec_driver_sql("INSERT INTO patients (id, patient_id, issuer) VALUES (1, 'P', '')")
    return database


def row(uid: str, at: datetime, text: str = "") -> dict[str, object]:
    times = {"first_received_at": at, "last_received_at": at, "opened_at": at}
    return {"study_uid": uid, "patient_id": 1, "state": "receiving", "accession_number": text, **times}


@given(TIMES, TIMES, st.text(max_size=20))
def test_rows_are_those_that_sqlalchemy_writes(database: Database, at: datetime, then: datetime, text: str) -> None:
    """Defaults of columns that are not named included."""
    uid = uuid4()
    text = text.replace("\0", "").encode("utf-8", "ignore").decode()
    with database.write() as session:
        ADD.run(session.connection(), row(f"a{uid}", at, text))
        TOUCH.run(session.connection(), {"uid": f"a{uid}", "now": then})
        session.execute(insert(TABLE), row(f"b{uid}", at, text))
        session.execute(update(TABLE).where(TABLE.c.study_uid == f"b{uid}").values(opened_at=then))
        both = session.execute(select(TABLE).where(TABLE.c.study_uid.in_((f"a{uid}", f"b{uid}"))).order_by("study_uid"))
        one, other = (
            [value for name, value in row._mapping.items() if name not in ("id", "study_uid")] for row in both
        )
        assert one == other
        found = FIND.run(session.connection(), {"uid": f"a{uid}"}).fetchone()
        assert found[1] == "receiving" and FIND.run(session.connection(), {"uid": "none"}).fetchone() is None


@given(TIMES)
def test_what_is_read_is_what_sqlalchemy_reads(database: Database, at: datetime) -> None:
    """Conditions with values of their own, what an insert returns, and times, truth values and nothing among it."""
    key = str(uuid4())
    with database.write() as session:
        connection = session.connection()
        for kind in ("c", "b", "a"):
            times = {"next_at": at, "turn_at": at, "created_at": at}
            row = {"kind": kind, "key": key, "subject_id": 1, "state": "ready", **times}
            assert ADD_JOB.rows(connection, row) == [(at, False)]
        found = [tuple(row) for row in session.execute(READ, {"named": key})]
        assert len(found) == 2 and READ_JOBS.rows(connection, {"named": key}) == found
        assert READ_JOBS.first(connection, {"named": key}) == found[0]
        assert READ_JOBS.rows(connection, {"named": "none"}) == [] and not READ_JOBS.first(connection, {"named": ""})


def test_errors_are_sqlalchemys_and_roll_back(database: Database, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    with pytest.raises(IntegrityError) as caught, database.write() as session:
        ADD.run(session.connection(), row("1.2.3", now, "SECRETMARKER"))
        ADD.run(session.connection(), row("1.2.3", now, "SECRETMARKER"))
    assert "SECRETMARKER" not in str(caught.value)
    with database.read() as session:
        assert FIND.run(session.connection(), {"uid": "1.2.3"}).fetchone() is None
    empty = Database(sqlite_url(tmp_path))
    with pytest.raises(OperationalError), empty.read() as session:
        FIND.run(session.connection(), {"uid": "1.2.3"})
    with pytest.raises(OperationalError), empty.read() as session:
        READ_JOBS.rows(session.connection(), {"named": ""})
