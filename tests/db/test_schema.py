"""Migrations build exactly the tables of ``db.tables``; a newer or absent schema is refused; on both engines."""

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import text
from sqlalchemy.exc import StatementError

from node.core.errors import Misconfigured
from node.db import schema, upgrade
from node.db.session import Database, sqlite_url
from node.db.tables import Base, Patient, Study


@pytest.fixture
def database(empty_database: Database) -> Database:
    return empty_database


def test_migration_from_empty_equals_the_tables(database: Database) -> None:
    before, head = schema.migrate(database.engine)
    assert before is None and head == schema.migrate(database.engine)[0]
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_an_older_database_keeps_what_it_holds(database: Database) -> None:
    with database.engine.execution_options(lungnode_write=True).begin() as connection:
        upgrade.to(connection, "0001")
    with database.write() as session:
        session.add(Patient(patient_id="A"))
    assert schema.migrate(database.engine)[0] == "0001"
    with database.read() as session:
        assert session.query(Patient).count() == 1


def test_migrating_twice_changes_nothing(database: Database) -> None:
    _, head = schema.migrate(database.engine)
    assert schema.migrate(database.engine) == (head, head)
    schema.require_current(database.engine)


def test_an_empty_and_a_newer_database_are_refused(database: Database) -> None:
    with pytest.raises(Misconfigured, match="lungnode migrate"):
        schema.require_current(database.engine)
    schema.migrate(database.engine)
    with database.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    for action in (schema.require_current, schema.migrate):
        with pytest.raises(Misconfigured, match="newer"):
            action(database.engine)


def test_a_database_of_two_schemas_is_refused(database: Database) -> None:
    schema.migrate(database.engine)
    with database.engine.begin() as connection:
        connection.execute(text("INSERT INTO alembic_version VALUES ('0003')"))
    for action in (schema.require_current, schema.migrate):
        with pytest.raises(Misconfigured, match="several schemas"):
            action(database.engine)


def test_a_program_that_ends_leaves_the_whole_database_in_its_file(tmp_path: Path) -> None:
    """However it ends but by a signal: a copy of that file is a copy of the database."""
    migrated = [sys.executable, "-m", "node.cli", "migrate", "--data", str(tmp_path)]
    subprocess.run(migrated, check=True, timeout=120, stdout=subprocess.DEVNULL)
    assert not (tmp_path / "lungnode.sqlite-wal").exists() and (tmp_path / "lungnode.sqlite").exists()


def test_sqlite_is_durable_and_checks_references(tmp_path: Path) -> None:
    database = Database(sqlite_url(tmp_path))
    with database.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1


def test_a_failed_block_leaves_nothing_and_times_need_a_zone(database: Database) -> None:
    schema.migrate(database.engine)
    with pytest.raises(KeyError), database.write() as session:
        session.add(Patient(patient_id="A"))
        session.flush()
        raise KeyError
    with database.read() as session:
        assert session.query(Patient).count() == 0
    with pytest.raises(StatementError, match="without zone"), database.write() as session:
        patient = Patient(patient_id="A")
        session.add(patient)
        session.flush()
        naive, aware = datetime(2026, 1, 1), datetime(2026, 1, 1, tzinfo=UTC)
        times = {"first_received_at": naive, "last_received_at": aware, "opened_at": aware}
        session.add(Study(study_uid="1.2", patient_id=patient.id, state="receiving", **times))
