"""Bring the schema to the version of this code, or say why not.

A database newer than the code is refused: an older program must not write what it does not understand. Which version
this code has is told by the names of its migrations; Alembic, which is slow to import, runs them (``upgrade``) and is
there only where one is missing.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, Engine, inspect, text

from node.core.errors import Misconfigured
from node.db import dialects

MIGRATIONS = Path(__file__).parent / "migrations"


def migrate(engine: Engine) -> tuple[str | None, str]:
    """Run all missing migrations in one transaction; returns (revision before, revision now)."""
    dialects.require(engine)
    with engine.execution_options(lungnode_write=True).begin() as connection:
        before, head = _revisions(connection)
        if before != head:
            from node.db import upgrade  # with Alembic, whose import takes longer than all else here

            upgrade.to_head(connection)
        return before, head


def require_current(engine: Engine) -> None:
    """Raise ``Misconfigured`` unless the schema is exactly that of this code."""
    dialects.require(engine)
    with engine.connect() as connection:
        before, head = _revisions(connection)
    if before != head:
        raise Misconfigured(f"the database has schema {before or 'none'}, this version needs {head}: lungnode migrate")


def _revisions(connection: Connection) -> tuple[str | None, str]:
    """Of the database, and the newest one of this code."""
    known = sorted(path.name[1:5] for path in (MIGRATIONS / "versions").glob("r*.py"))
    has_any = inspect(connection).has_table("alembic_version")
    found = connection.scalars(text("SELECT version_num FROM alembic_version")).all() if has_any else []
    if len(found) > 1:
        raise Misconfigured(f"the database says that it has several schemas ({', '.join(sorted(found))}): restore it")
    current = found[0] if found else None
    if current is not None and current not in known:
        raise Misconfigured(
            f"the database has schema {current}, made by a newer version; this one knows up to {known[-1]}: install "
            "that version again, or serve the backup made before the upgrade"
        )
    return current, known[-1]
