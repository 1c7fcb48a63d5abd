"""Open the database and hand out transactions.

What was committed survives a power cut. Writers have their turns one after the other, on SQLite (``turns``, then BEGIN
IMMEDIATE) and on PostgreSQL (an advisory lock), see ``dialects``.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection
from sqlalchemy.orm import Session, sessionmaker

from node.db import dialects
from node.db.changes import Changes
from node.db.handed import Ready
from node.db.turns import Turns

READY = "tell what is ready"  # of a session's info
Tell = Callable[[Connection, Ready], None]


class Database:
    """One engine. ``write()`` and ``read()`` give sessions; ``write`` commits at the end of the block."""

    def __init__(self, url: str, durable: bool = True) -> None:
        """durable: false gives up that what was committed survives a power cut, to compare speed only."""
        self.engine = dialects.opened(url, durable)
        self.file = dialects.file_of(self.engine)
        self.clock, self.changes = dialects.Clock(self.engine), Changes(self.engine)
        self.turns = Turns(f"{self.file}-turn" if self.file else None)
        self._asides = sessionmaker(self.engine, expire_on_commit=False)
        self._readers = sessionmaker(dialects.reading(self.engine), expire_on_commit=False)
        self._writer = self.engine.execution_options(lungnode_write=True)
        self._writers = sessionmaker(self._writer, expire_on_commit=False)
        weakref.finalize(self, self.engine.dispose)  # SQLite puts its log into its file when the last connection closes

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A writing transaction: commits at the end of the block, rolls back on any exception."""
        with self.turns.taken(), self._writers.begin() as session:
            yield session

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """``write`` without a session, whose way to a statement costs several times the statement."""
        with self.turns.taken(), self._writer.begin() as connection:
            yield connection

    @contextmanager
    def looking(self) -> Iterator[Connection]:
        """For one ``Rendered`` query, which needs no transaction around it."""
        with self.engine.connect() as connection:
            yield connection

    @contextmanager
    def aside(self) -> Iterator[Session]:
        """A writing transaction on a server that waits for no other: for rows that only this process changes."""
        with self._asides.begin() as session:
            yield session

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A reading transaction with one consistent view."""
        with self._readers() as session:
            yield session

    def tell_what_is_ready(self, tell: Tell) -> None:
        """Call ``tell`` for each analysis that becomes READY, in the transaction that makes it so."""
        self._writers.configure(info={READY: tell})

    def trouble(self) -> str:
        """Why the server does not take a commit now; empty: it does, or there is none."""
        return dialects.trouble(self.engine)

    def close(self) -> None:
        self.changes.close()
        self.engine.dispose()
        self.turns.close()


def sqlite_url(data: Path) -> str:
    return f"sqlite:///{data / 'lungnode.sqlite'}"


def url_of(data: Path, configured: str) -> str:
    """As the settings name it; empty: the SQLite file of the data folder."""
    return configured or sqlite_url(data)
