"""Alembic at work: the migrations that a database lacks. Imported by ``schema`` where there are any."""

from __future__ import annotations

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection

from node.db import schema
from node.db.queries import views


def to_head(connection: Connection) -> None:
    """All that are missing, in the transaction of ``connection``."""
    views.drop(connection)  # SQLite alters no table that a view reads
    to(connection, "head")
    views.create(connection)


def to(connection: Connection, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(schema.MIGRATIONS))
    config.attributes["connection"] = connection
    command.upgrade(config, revision)
