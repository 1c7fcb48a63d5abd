"""Open the database and hand out transactions.

SQLite is opened with WAL and synchronous=FULL: what was committed survives a power cut. Writers start their
transaction with BEGIN IMMEDIATE, so two of them wait for each other (busy timeout) instead of failing halfway. Writers
of this program queue before (``turns``).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.orm import Session, sessionmaker

from node.db.turns import Turns

BUSY_SECONDS = 10.0  # for another program; senders wait 30 s for an answer, and our writers queue behind one another


class Database:
    """One engine. ``write()`` and ``read()`` give sessions; ``write`` commits at the end of the block."""

    def __init__(self, url: str, durable: bool = True) -> None:
        """durable: false gives up that what was committed survives a power cut, to compare speed only."""
        self.engine = _engine(url, "FULL" if durable else "OFF")
        file = self.engine.url.database if self.engine.dialect.name == "sqlite" else None
        self.turns = Turns(f"{file}-turn" if file else None)
        self._readers = sessionmaker(self.engine, expire_on_commit=False)
        self._writers = sessionmaker(self.engine.execution_options(lungnode_write=True), expire_on_commit=False)

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A writing transaction: commits at the end of the block, rolls back on any exception."""
        with self.turns.taken(), self._writers.begin() as session:
            yield session

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A reading transaction with one consistent view."""
        with self._readers() as session:
            yield session

    def close(self) -> None:
        self.engine.dispose()
        self.turns.close()


def sqlite_url(data: Path) -> str:
    return f"sqlite:///{data / 'lungnode.sqlite'}"


def _engine(url: str, synchronous: str) -> Engine:
    if not url.startswith("sqlite"):
        return create_engine(url, hide_parameters=True)
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
    def on_begin(connection: Any) -> None:
        writing = connection.get_execution_options().get("lungnode_write", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")

    return engine
