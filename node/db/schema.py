"""Bring the schema to the version of this code, or say why not.

A database newer than the code is refused: an older program must not write what it does not understand.
"""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine

from node.core.errors import Misconfigured
from node.db import dialects
from node.db.queries import views

MIGRATIONS = Path(__file__).parent / "migrations"


def migrate(engine: Engine) -> tuple[str | None, str]:
    """Run all missing migrations in one transaction; returns (revision before, revision now)."""
    dialects.require(engine)
    with engine.execution_options(lungnode_write=True).begin() as connection:
        before, head = _revisions(connection)
        if before != head:
            views.drop(connection)  # SQLite alters no table that a view reads
            command.upgrade(_config(connection), "head")
            views.create(connection)
        return before, head


def require_current(engine: Engine) -> None:
    """Raise ``Misconfigured`` unless the schema is exactly that of this code."""
    dialects.require(engine)
    with engine.connect() as connection:
        before, head = _revisions(connection)
    if before != head:
        raise Misconfigured(f"the database has schema {before or 'none'}, this version needs {head}: lungnode migrate")


def _revisions(connection: Connection) -> tuple[str | None, str]:
    scripts = ScriptDirectory.from_config(_config(connection))
    head = scripts.get_current_head()
    assert head is not None
    current = MigrationContext.configure(connection).get_current_revision()
    known = {script.revision for script in scripts.walk_revisions()}
    if current is not None and current not in known:
        raise Misconfigured(
            f"the database has schema {current}, made by a newer version; this one knows up to {head}: install that "
            "version again, or serve the backup made before the upgrade"
        )
    return current, head


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    return config
