"""``pytest -p tests.on_postgres PATHS``: tests that keep rows in the SQLite file of a folder keep them in PostgreSQL.

For every test that opens ``Database(sqlite_url(folder))`` itself; each folder gets a database of its own, with its
tables. Tests of SQLite itself (tests/db), of its file, and of processes, which have their settings, are not for this.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from node.db import schema, session
from tests.postgres import Postgres

_server: Postgres | None = None
_migrated = ""
_made: dict[Path, str] = {}


def _url(folder: Path) -> str:
    global _server, _migrated
    if _server is None:
        _server = Postgres()
        _server.__enter__()
        _migrated = _server.made()
        database = session.Database(_server.url(_migrated))
        schema.migrate(database.engine)
        database.close()
    if folder not in _made:
        _made[folder] = _server.url(_server.made(_migrated))
    return _made[folder]


def pytest_configure(config: pytest.Config) -> None:
    session.sqlite_url = _url


def pytest_unconfigure(config: pytest.Config) -> None:
    if _server is not None:
        _server.__exit__()
