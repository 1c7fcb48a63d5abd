"""Whether archive and database can be written now, found out by writing. For whoever asks how the node does.

A disk that fails, that was mounted read-only, or a database that another program holds shows in no number: free space
is as it was, and reading works. So the archive writes something that it does not need, and a number of the database's
header that nobody uses is set to what it is, and committed; a server is asked for a transaction.
"""

from __future__ import annotations

import contextlib
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from node.archive import Archive
from node.db.session import Database

WAIT_SECONDS = 5.0  # for a database that is busy; a writer of ours is done long before


@dataclass(frozen=True)
class Trouble:
    """subject: ``archive`` or ``database``."""

    subject: str
    reason: str

    @property
    def sentence(self) -> str:
        return f"The {self.subject} cannot be written ({self.reason}); instances are refused with 0xA700 until it can."


def troubles(archive: Archive, database: Database) -> tuple[Trouble, ...]:
    found = {"archive": archive.trouble()}
    found["database"] = _of_database(database.file) if database.file else database.trouble()
    return tuple(Trouble(subject, reason) for subject, reason in found.items() if reason)


def _of_database(file: Path) -> str:
    try:
        with contextlib.closing(sqlite3.connect(file, timeout=WAIT_SECONDS, isolation_level=None)) as connection:
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("BEGIN IMMEDIATE")
            (number,) = connection.execute("PRAGMA user_version").fetchone()
            connection.execute(f"PRAGMA user_version = {int(number)}")
            connection.execute("COMMIT")
    except sqlite3.Error as error:
        return str(error)
    return ""
