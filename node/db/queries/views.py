"""SQL views of the resources, for people with a database client: ``v_results``, ``v_lesions``, and so on.

They are no migration of their own: ``db.upgrade`` takes them away before it alters a table, which SQLite refuses
otherwise, and makes them again from the columns that HTTP and the command line show. ``grants`` says what a role needs
that may read them and nothing else (PostgreSQL).
"""

from __future__ import annotations

import re

from sqlalchemy import Connection, text

from node.core.errors import Misconfigured
from node.db.queries.pages import whole
from node.db.queries.resources import RESOURCES

VIEWS = {f"v_{name}": one for name, one in RESOURCES.items()}


def drop(connection: Connection) -> None:
    for name in VIEWS:
        connection.execute(text(f"DROP VIEW IF EXISTS {name}"))


def create(connection: Connection) -> None:
    drop(connection)
    for name, resource in VIEWS.items():
        body = whole(resource).compile(connection.engine, compile_kwargs={"literal_binds": True})
        connection.exec_driver_sql(f"CREATE VIEW {name} AS {body}".replace("%", "%%"))


def grants(role: str) -> str:
    """SQL for PostgreSQL that makes a role which may read the views alone; to be run again after an upgrade."""
    if not re.fullmatch(r"[a-z_][a-z0-9_]{0,62}", role):
        raise Misconfigured(f"{role!r} is no plain name of a role: small letters, digits and _, 63 at most")
    made = f"DO $$ BEGIN CREATE ROLE {role} LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$;"
    limits = f"ALTER ROLE {role} SET default_transaction_read_only = on;"
    may = [f"GRANT SELECT ON {name} TO {role};" for name in VIEWS]
    return "\n".join((made, limits, f"GRANT USAGE ON SCHEMA public TO {role};", *may)) + "\n"
