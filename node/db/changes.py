"""Whether anybody has committed anything since: a mark that costs next to nothing, to be asked for many times a second.

On SQLite ``PRAGMA data_version`` of a connection of its own, which never writes; on PostgreSQL the snapshot of the
server, which each transaction that wrote anything changes (in whatever database of it, so that there it may change
where nothing has). Two equal marks mean that nothing was committed between them; one that cannot be had is like no
other.
"""

from __future__ import annotations

import contextlib
import threading
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

DATA_VERSION, SNAPSHOT = "PRAGMA data_version", "SELECT pg_current_snapshot()::text"


class Changes:
    """Every method may be called from any thread."""

    def __init__(self, engine: Engine) -> None:
        self._engine, self._has_server = engine, engine.dialect.name != "sqlite"
        self._guard = threading.Lock()
        self._connection: Any = None

    def mark(self) -> object:
        with self._guard:
            try:
                if self._connection is None:
                    self._connection = self._opened()
                return self._connection.execute(SNAPSHOT if self._has_server else DATA_VERSION).fetchone()[0]
            except (SQLAlchemyError, self._engine.dialect.loaded_dbapi.Error):
                self._drop()
                return object()

    def _opened(self) -> Any:
        """The driver's connection, past the pool: SQLAlchemy would begin a transaction, whose view never changes."""
        pooled = self._engine.raw_connection()
        connection: Any = pooled.driver_connection
        pooled.detach()
        if self._has_server:
            connection.autocommit = True
        return connection

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(self._engine.dialect.loaded_dbapi.Error):
                connection.close()

    def close(self) -> None:
        with self._guard:
            self._drop()
