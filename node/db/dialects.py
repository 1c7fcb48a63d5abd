"""Where SQLite and PostgreSQL differ: how each is opened, how a writer waits for its turn, whose clock counts, whether
it can be written. Everything else of the program is the same on both.

Writers are one at a time on both: SQLite knows no other way, and on PostgreSQL each writing transaction begins by
taking one advisory lock that lasts until its end. So whatever a transaction looks up before it writes is still so when
it commits, from whatever machine, and no code has to be right twice. What it costs is said in docs/cluster.md.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.exc import SQLAlchemyError

from node.core.errors import Misconfigured

BUSY_SECONDS = 10.0  # for another program; senders wait 30 s for an answer, and our writers queue behind one another
STOPPED_SECONDS = 20.0  # a writer that was stopped, or whose machine has gone, loses its turn
CONNECT_SECONDS = 5
WRITERS_LOCK = 0x6C756E67_00000001  # "lung", 1
CLOCK_SECONDS = 30.0  # between two looks at the server's clock
DURABLE = "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
MOST_CONNECTIONS = 30  # of a process; five stay open


def opened(url: str, durable: bool) -> Engine:
    """durable: false gives up that what was committed survives a power cut, to compare speed only."""
    return _sqlite(url, "FULL" if durable else "OFF") if url.startswith("sqlite") else _postgresql(url, durable)


def reading(engine: Engine) -> Engine:
    """For transactions that see one state from their first statement to their last."""
    if engine.dialect.name == "sqlite":
        return engine
    return engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)


def file_of(engine: Engine) -> Path | None:
    """The file of an SQLite database."""
    return Path(engine.url.database) if engine.dialect.name == "sqlite" and engine.url.database else None


def require(engine: Engine) -> None:
    """Misconfigured, with the reason, where the server does not answer or takes nothing, or where a pooler before it
    would let one session's locks and settings be another's."""
    if said := trouble(engine):
        raise Misconfigured(f"the database cannot be used: {said}")
    if engine.dialect.name == "sqlite":
        return
    try:
        is_whole = _keeps_sessions(engine)
    except SQLAlchemyError as error:
        raise Misconfigured(f"the database cannot be used by two at once: {_words(error)}") from error
    if not is_whole:
        raise Misconfigured(
            "the pooler before the database does not keep sessions whole (PgBouncer: pool_mode = session)"
        )


def _keeps_sessions(engine: Engine) -> bool:
    """Whether of two that are told a word each the first one still has its own."""
    tell = text("SELECT set_config('lungnode.session', :word, false)")
    ask = text("SELECT current_setting('lungnode.session', true)")
    with engine.connect() as first, engine.connect() as second:
        for connection, word in ((first, "first"), (second, "second")):
            connection.execute(tell, {"word": word})
            connection.commit()
        return bool(first.scalar(ask) == "first")


def trouble(engine: Engine) -> str:
    """Why the server does not take a commit now; empty: it does, or there is no server (see ``pipeline.probe``)."""
    if engine.dialect.name == "sqlite":
        return ""
    try:
        with engine.begin() as connection:
            connection.execute(text("SELECT pg_current_xact_id()"))  # what a standby, or one in recovery, refuses
    except SQLAlchemyError as error:
        return _words(error)
    return ""


def _words(error: SQLAlchemyError) -> str:
    """What the server said, on one line."""
    said = str(getattr(error, "orig", None) or error).strip() or type(error).__name__
    return said.splitlines()[0]


@contextlib.contextmanager
def _hung_up_after(seconds: float, descriptor: int) -> Iterator[None]:
    """A pooler takes a login at once and lets the first statement wait until a session is free, which may be never."""
    with socket.socket(fileno=os.dup(descriptor)) as connection:
        timer = threading.Timer(seconds, _hang_up, (connection,))
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()


def _hang_up(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


class Clock:
    """The clock that all nodes on a database share: the server's, or on SQLite that of this machine.

    The server's time is asked for now and then and counted on from there, so that neither a step of this machine's
    clock nor a server that is away matters.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._has_server = engine.dialect.name != "sqlite"
        self._asked_at = float("-inf")
        self._at = (0.0, datetime.now(UTC))

    def __call__(self) -> datetime:
        if not self._has_server:
            return datetime.now(UTC)
        if time.monotonic() >= self._asked_at + CLOCK_SECONDS:
            self._asked_at = time.monotonic()
            with contextlib.suppress(SQLAlchemyError):
                self._ask()
        since, at = self._at
        return at + timedelta(seconds=time.monotonic() - since) if since else datetime.now(UTC)

    def _ask(self) -> None:
        with self._engine.connect() as connection:
            found = connection.scalar(text("SELECT clock_timestamp()"))
        assert found is not None
        self._at = (time.monotonic(), found.astimezone(UTC))

    def behind(self) -> timedelta:
        """How much this machine's clock is behind the one that counts."""
        return self() - datetime.now(UTC)


def _sqlite(url: str, synchronous: str) -> Engine:
    engine = create_engine(
        url, connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False}, hide_parameters=True
    )

    @event.listens_for(engine, "connect")
    def on_connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # SQLAlchemy's BEGIN below, not the driver's
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", f"synchronous={synchronous}", "foreign_keys=ON"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def on_begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE" if _writes(connection) else "BEGIN")

    return engine


def _postgresql(url: str, durable: bool) -> Engine:
    """A connection that broke is replaced before it is used (pre_ping): a server that was restarted costs nobody. A
    server or user whose commits do not wait for the disk (synchronous_commit = off) is told to wait for ours."""
    settings = {
        "default_transaction_isolation": "read committed",  # a view older than the turn would not see who wrote before
        "lock_timeout": f"{BUSY_SECONDS:g}s",
        "idle_in_transaction_session_timeout": f"{STOPPED_SECONDS:g}s",
        "tcp_keepalives_idle": "10",
        "tcp_keepalives_interval": "5",
        "tcp_keepalives_count": "3",
        **({} if durable else {"synchronous_commit": "off"}),
    }
    tell = f"SELECT {', '.join(['set_config(%s, %s, false)'] * len(settings))}"
    engine = create_engine(
        url.replace("postgresql://", "postgresql+psycopg://", 1),
        connect_args={
            "connect_timeout": CONNECT_SECONDS,
            "tcp_user_timeout": int(1000 * STOPPED_SECONDS),
            "application_name": "lungnode",
        },
        hide_parameters=True,
        pool_pre_ping=True,
        pool_timeout=BUSY_SECONDS,
        max_overflow=MOST_CONNECTIONS - 5,
    )

    @event.listens_for(engine, "connect")
    def on_connect(connection: Any, _record: Any) -> None:
        """Statements, since a pooler drops or refuses settings that come with the connection."""
        with _hung_up_after(CONNECT_SECONDS, connection.fileno()):
            connection.execute(tell, [part for setting in settings.items() for part in setting])
            if durable:
                connection.execute(DURABLE)
            connection.commit()

    @event.listens_for(engine, "begin")
    def on_begin(connection: Connection) -> None:
        if _writes(connection):
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({WRITERS_LOCK})")

    return engine


def _writes(connection: Connection) -> bool:
    return bool(connection.get_execution_options().get("lungnode_write", False))
