"""The chain over the audit trail: any change of any row is found and named, on SQLite and PostgreSQL.

Not covered: who writes which event (tests/e2e/test_audit.py), what is sent to collectors (test_collector.py).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.orm import Session

from node.core.audit import KINDS, OUTCOMES, AuditEvent, Recent
from node.db import audit, schema
from node.db.audit import Head
from node.db.session import Database, sqlite_url

AT = datetime(2026, 1, 5, 9, 30, tzinfo=UTC)
COLUMNS = ("id", "at", "kind", "outcome", "actor", "aet", "address", "study_uid", "details", "sequence", "previous",
           "hash")  # fmt: skip
NUMBERS = ("id", "sequence")
COUNT = 12


def write(database: Database, count: int = COUNT, start: int = 0) -> None:
    with database.write() as session:
        for number in range(start, start + count):
            kind = list(KINDS)[number % len(KINDS)]
            who = {"actor": f"reader-{number}", "aet": "PACS", "address": "192.0.2.7"}
            event = AuditEvent(kind, **who, study_uid=f"1.2.{number}", details={"number": number})
            audit.append(session, event, AT + timedelta(seconds=number))


def chained(database: Database) -> Database:
    schema.migrate(database.engine)
    write(database)
    with database.write() as session:
        assert audit.chain(session, 5) == 5
        assert audit.chain(session) == COUNT - 5 and audit.chain(session) == 0
    return database


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    if request.param == "sqlite":
        made = Database(sqlite_url(tmp_path_factory.mktemp("chain")), durable=False)
    else:
        made = request.getfixturevalue("postgres").database()
    yield chained(made)
    made.close()


def problem(database: Database, *statements: str, kept: Head | None = None, **values: Any) -> str:
    """What verify says after these statements, which are then undone."""
    with database.engine.execution_options(lungnode_write=True).connect() as connection:
        session = Session(connection)
        for statement in statements:
            session.execute(text(statement), values)
        said = audit.verify(session, kept).problem
        connection.rollback()
    return said


def test_an_untouched_chain_holds(database: Database) -> None:
    with database.read() as session:
        said = audit.verify(session)
        assert (said.rows, said.problem, said.unchained) == (COUNT, "", 0) and said.head == audit.head(session)
        assert audit.verify(session, audit.head(session)).rows == 0
        middle = audit.rows(session, 4, 1)[0]
        assert audit.verify(session, Head(5, middle["hash"])).rows == COUNT - 5


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, COUNT), st.sampled_from(COLUMNS), st.data())
def test_any_letter_of_any_row_that_is_changed_is_found(database: Database, row: int, column: str, data: Any) -> None:
    with database.read() as session:
        old = audit.rows(session, row - 1, 1)[0][column]
    if column in NUMBERS:
        new: Any = data.draw(st.integers(1, 99).filter(lambda number: number not in range(COUNT + 1)))
    else:
        place = data.draw(st.integers(0, len(old) - 1))
        letter = data.draw(st.characters(codec="ascii", exclude_characters="\0" + old[place]))
        new = old[:place] + letter + old[place + 1 :]
    said = problem(database, f"UPDATE audit_events SET {column} = :new WHERE sequence = :row", new=new, row=row)
    assert str(row) in said, (column, old, new, said)


@pytest.mark.parametrize("row", [1, 6, COUNT])
def test_a_removed_row_is_found(database: Database, row: int) -> None:
    with database.read() as session:
        kept = audit.head(session)
    said = problem(database, "DELETE FROM audit_events WHERE sequence = :row", row=row, kept=None)
    if row < COUNT:
        assert said.startswith(f"Row {row} is missing")
    elif database.engine.dialect.name == "sqlite":
        assert "at the end were removed: 12 events were written, 11 are there" in said
    cut = problem(database, "DELETE FROM audit_events WHERE sequence >= :row", row=row, kept=kept)
    assert "cut off" in cut


def test_two_rows_that_changed_places_are_found(database: Database) -> None:
    said = problem(
        database,
        "UPDATE audit_events SET sequence = 99 WHERE sequence = 4",
        "UPDATE audit_events SET sequence = 4 WHERE sequence = 5",
        "UPDATE audit_events SET sequence = 5 WHERE sequence = 99",
    )
    assert said.startswith("Row 4 does not follow")


def test_a_row_that_was_put_in_is_found(database: Database) -> None:
    put = (
        "INSERT INTO audit_events"
        " (at, kind, outcome, actor, aet, address, study_uid, details, sequence, previous, hash)"
        " SELECT at, kind, outcome, 'somebody', aet, address, study_uid, details, 13, hash, hash"
        " FROM audit_events WHERE sequence = 12"
    )
    assert problem(database, put).startswith("Row 13 was changed")


def test_a_chain_that_was_made_anew_is_told_by_the_head_that_was_kept(database: Database) -> None:
    with database.read() as session:
        kept = audit.head(session)
    with database.engine.execution_options(lungnode_write=True).connect() as connection:
        session = Session(connection)
        session.execute(text("UPDATE audit_events SET actor = 'nobody' WHERE sequence = 3"))
        session.execute(text("UPDATE audit_events SET sequence = NULL, previous = NULL, hash = NULL"))
        audit.chain(session)
        assert audit.verify(session).problem == ""
        assert "was made again" in audit.verify(session, kept).problem
        connection.rollback()


def test_an_event_that_was_removed_before_it_was_chained_is_found(tmp_path: Path) -> None:
    """Numbers have no gaps on SQLite; on PostgreSQL they may, so there this is not told."""
    database = chained(Database(sqlite_url(tmp_path), durable=False))
    write(database, 3, COUNT)
    with database.read() as session:
        assert audit.verify(session).unchained == 3
    for number in (13, 14, 15):
        assert "removed" in problem(database, "DELETE FROM audit_events WHERE id = :number", number=number)
    with database.write() as session:
        session.execute(text("DELETE FROM audit_events WHERE id = 14"))
        audit.chain(session)
    with database.read() as session:
        assert (
            audit.verify(session).problem == "Before row 14 an event was removed that was not chained yet (number 14)."
        )
    database.close()


def test_rows_that_many_write_while_they_are_chained_are_all_there_once(database: Database) -> None:
    writers = [threading.Thread(target=write, args=(database, 20, 100 * number)) for number in (1, 2, 3)]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        with database.write() as session:
            audit.chain(session, 7)
    for writer in writers:
        writer.join()
    with database.write() as session:
        audit.chain(session)
    with database.read() as session:
        assert audit.verify(session).problem == ""
        actors = [row["actor"] for row in audit.rows(session)]
    assert len(actors) == COUNT + 60 == len(set(actors) | {""}) - 1


def test_what_rolls_back_is_told_by_nobody(database: Database) -> None:
    with database.read() as session:
        before = audit.head(session)
    with pytest.raises(KeyError), database.write() as session:
        audit.append(session, AuditEvent("start"), AT)
        raise KeyError
    with database.write() as session:
        assert audit.chain(session) == 0 and audit.head(session) == before
        assert audit.verify(session).problem == ""


def test_control_characters_and_long_texts_do_no_harm(database: Database) -> None:
    with database.write() as session:
        event = AuditEvent("query", actor="x\x1b[31m\n" * 50, aet="A" * 99, details={"a": "\ud800", "b": AT})
        audit.append(session, event, AT)
        audit.chain(session)
        row = audit.rows(session, audit.head(session).sequence - 1)[0]
    assert row["actor"] == ("x[31m" * 50)[:64] and len(row["aet"]) == 16
    with database.read() as session:
        assert audit.verify(session).problem == ""


def test_an_event_of_no_kind_is_a_fault_of_ours() -> None:
    for wrong in ({"kind": "lunch"}, {"kind": "start", "outcome": "fine"}):
        with pytest.raises(AssertionError):
            AuditEvent(**wrong)
    assert set(OUTCOMES.values()) == {"0", "4", "8", "12"}  # PS3.15 A.5.1.1


def test_what_was_said_lately_is_forgotten_in_order() -> None:
    recent = Recent(2)
    for key in "abc":
        recent.add(key, 10.0)
    assert [recent.has(key) for key in "abc"] == [False, True, True] and not recent.has("c", 11.0)
    assert not recent.has("unheard of", -50.0)  # of a machine that was started less than a minute ago
