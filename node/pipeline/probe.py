"""Whether archive and database can be written now, found out by writing. For whoever asks how the node does.

A disk that fails, that was mounted read-only, or a database that another program holds shows in no number: free space
is as it was, and reading works. So a file of one block is written, synced and removed in the archive, and a number
of the database's header that nobody uses is set to what it is, and committed; a server is asked for a transaction.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from node.archive import Archive
from node.db.session import Database

WAIT_SECONDS = 5.0  # for a database that is busy; a writer of ours is done long before
BLOCK = bytes(4096)


@dataclass(frozen=True)
class Trouble:
    """subject: ``archive`` or ``database``."""

    subject: str
    reason: str

    @property
    def sentence(self) -> str:
        return f"The {self.subject} cannot be written ({self.reason}); instances are refused with 0xA700 until it can."


def troubles(archive: Archive, database: Database) -> tuple[Trouble, ...]:
    found = {"archive": _of_archive(archive)}
    found["database"] = _of_database(database.file) if database.file else database.trouble()
    return tuple(Trouble(subject, reason) for subject, reason in found.items() if reason)


def _of_archive(archive: Archive) -> str:
    path = archive.new_temporary()
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        try:
            os.write(descriptor, BLOCK)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        return error.strerror or type(error).__name__
    finally:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
    return ""


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
