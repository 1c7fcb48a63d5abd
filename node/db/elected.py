"""Who of several nodes does what must be done once: whoever holds an advisory lock of the PostgreSQL server.

The lock lasts as long as the connection that took it, so it ends with its node, whatever happens to that. On SQLite
there is one node, which is always elected.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import SQLAlchemyError

DUTIES_LOCK, STARTING_LOCK = 0x6C756E67_00000002, 0x6C756E67_00000003  # "lung", 2 and 3
LOOK_SECONDS = 1.0  # so often the connection is asked whether it still stands


class Elected:
    """Every method may be called from any thread."""

    def __init__(self, engine: Engine) -> None:
        self._engine, self._has_server = engine, engine.dialect.name != "sqlite"
        self._connection: Connection | None = None
        self._guard = threading.Lock()
        self._looked_at, self._since = float("-inf"), time.monotonic()

    def seconds(self) -> float:
        """For how long this node has been elected; below 0: it is not."""
        if not self._has_server:
            return time.monotonic() - self._since
        with self._guard:
            if time.monotonic() >= self._looked_at + LOOK_SECONDS:
                self._looked_at = time.monotonic()
                self._look()
            return time.monotonic() - self._since if self._connection is not None else -1.0

    def _look(self) -> None:
        try:
            if self._connection is not None:
                self._connection.execute(text("SELECT 1"))
                return
            connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            if connection.scalar(text(f"SELECT pg_try_advisory_lock({DUTIES_LOCK})")):
                self._connection, self._since = connection, time.monotonic()
            else:
                connection.close()
        except SQLAlchemyError:
            self._drop()

    def _drop(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(SQLAlchemyError):
                self._connection.invalidate()  # a connection that goes back to the pool would keep the lock
                self._connection.close()
            self._connection = None

    def resign(self) -> None:
        with self._guard:
            self._drop()


@contextlib.contextmanager
def alone_starting(engine: Engine) -> Iterator[None]:
    """No other node begins meanwhile."""
    if engine.dialect.name == "sqlite":
        yield
        return
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("SET lock_timeout = 0"))
        connection.execute(text(f"SELECT pg_advisory_lock({STARTING_LOCK})"))
        try:
            yield
        finally:
            with contextlib.suppress(SQLAlchemyError):
                connection.invalidate()
