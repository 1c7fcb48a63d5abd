"""An upgrade from every older schema, with a row in every table: the rows are there afterwards and refer to each other.

Rows are made up from the columns' types. What a migration computes is covered for what it fills in from other tables
(revisions 0009 and 0010).
"""

from __future__ import annotations

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text
from sqlalchemy.types import Boolean, DateTime, Float, Integer

from node.db import schema, upgrade
from node.db.session import Database

AT = "2020-01-02 03:04:05.000000"
WRITTEN_ANEW = {"series_keys", "instance_keys", "study_keys"}  # from the archive, see revisions 0004 and 0008


def _revisions() -> list[str]:
    script = ScriptDirectory(str(schema.MIGRATIONS))
    return [one.revision for one in script.walk_revisions()][:0:-1]


def _value(kind: object, name: str) -> object:
    if name == "instances":
        return '[["1.2", "instances"]]'
    if isinstance(kind, DateTime):
        return AT
    if isinstance(kind, (Integer, Boolean, Float)):
        return isinstance(kind, Boolean) or 1
    return "SCANNER" if name == "origin_aet" else "instances" if name == "sop_uid" else "text"


def _fill(connection: Connection) -> set[str]:
    """One row in each table, whose id and references are all 1."""
    found = inspect(connection)
    tables = set(found.get_table_names()) - {"alembic_version", "sqlite_sequence"}
    is_file = connection.dialect.name == "sqlite"
    connection.execute(text("PRAGMA defer_foreign_keys = ON" if is_file else "SET session_replication_role = replica"))
    for table in tables:
        references = {key["constrained_columns"][0]: key for key in found.get_foreign_keys(table)}
        row = {
            column["name"]: 1 if column["name"] in references else _value(column["type"], column["name"])
            for column in found.get_columns(table)
        }
        names, values = ", ".join(f'"{name}"' for name in row), ", ".join(f":{name}" for name in row)
        connection.execute(text(f"INSERT INTO {table} ({names}) VALUES ({values})"), row)
    return tables


@pytest.mark.parametrize("revision", _revisions())
def test_rows_of_every_table_stay(empty_database: Database, revision: str) -> None:
    database = empty_database
    with database.engine.execution_options(lungnode_write=True).begin() as connection:
        upgrade.to(connection, revision)
        tables = _fill(connection)
    before, head = schema.migrate(database.engine)
    assert before == revision != head
    with database.read() as session:
        connection = session.connection()
        if database.file:
            assert connection.execute(text("PRAGMA foreign_key_check")).all() == []
            assert connection.execute(text("PRAGMA integrity_check")).scalar() == "ok"
        views = inspect(connection).get_view_names()
        for table in (tables - WRITTEN_ANEW) & set(inspect(connection).get_table_names()):
            assert connection.scalar(text(f"SELECT count(*) FROM {table}")) == 1, table
        assert views and all(connection.execute(text(f"SELECT * FROM {view}")) for view in views)
        if revision < "0010":
            [found] = connection.execute(text("SELECT study_id, analysed_at, calling_aet FROM findings"))
            assert (found[0], str(found[1])[:19], found[2]) == (1, AT[:19], "SCANNER")
        if "0006" <= revision < "0009":
            assert str(connection.scalar(text("SELECT committed_at FROM instances")))[:19] == AT[:19]
