"""Files of the archive that no row knows: what a kill leaves between the name of a file and the commit of its row.

They are cleared away when a node starts, before it receives or analyses anything. A file that is about to be committed
is safe: whoever receives holds the lock of its folder (``Archive.claimed``) from before the file has its name until its
row is committed, in whatever process, ``lungnode pull`` too; here nothing is removed without that lock, and only what
no row knows while it is held. Results have no such lock; no worker of this node runs yet, and those of an earlier one
ended with it. A sender was never told that it may forget such a file, and an analysis writes the same results again.
What a lost connection to the database leaves in doubt (``Archive.in_doubt``) need not wait for a start: each process
that receives looks at its own again (``look_again``).

In a bucket no start waits for that: now and then a duty takes away what has been there for long (``Archive.files``), if
the bucket is still that of this database (``tenure``), and each node lets go of copies of what another one removed.
"""

from __future__ import annotations

import contextlib
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable

from sqlalchemy.exc import SQLAlchemyError

from node.archive import Archive
from node.core import log
from node.core.errors import OutOfResources
from node.db import copy as rows
from node.db.session import Database

logger = logging.getLogger(__name__)
MOST = 1000  # that a crash leaves; with more the database is rather an older one than the archive


def clear_bucket(database: Database, archive: Archive, is_ours: Callable[[], bool]) -> int:
    """How many were removed. is_ours: whether this database may say what goes; asked anew after minutes of listing."""
    if not is_ours():
        return 0
    with database.read() as session:
        named = set(rows.files(session))  # what retention removes meanwhile is no stray
    suspects = archive.files() - named
    with database.read() as session:
        suspects.difference_update(rows.files(session))
    return _cleared(database, archive, suspects) if suspects and is_ours() else 0


def clear(database: Database, archive: Archive) -> int:
    """How many were removed from a folder."""
    suspects = archive.files()  # before the rows are read: a row that is committed meanwhile is seen
    with database.read() as session:
        suspects.difference_update(rows.files(session))
    if len(suspects) > MOST:
        log.event(logger, "archive.too_many_strays", logging.ERROR, files=len(suspects))
        return 0
    return _cleared(database, archive, suspects)


def look_again(database: Database, archive: Archive) -> None:
    """Take away files whose commit nobody heard of, once the database says that no row names them."""
    doubtful = set(archive.in_doubt)
    if not doubtful:
        return
    with contextlib.suppress(SQLAlchemyError, OSError, OutOfResources):  # the next time, then
        _cleared(database, archive, doubtful)
        archive.in_doubt -= doubtful


def _cleared(database: Database, archive: Archive, suspects: Iterable[str]) -> int:
    removed = remove(database, archive, suspects)
    if removed:
        log.event(logger, "archive.cleared", files=removed)
    return removed


def remove(database: Database, archive: Archive, suspects: Iterable[str]) -> int:
    """Those of these files, relative to the archive, that no row names; how many they were."""
    folders: dict[str, set[str]] = defaultdict(set)
    for relative in suspects:
        folders[relative.rpartition("/")[0]].add(relative)
    removed = 0
    for folder, files in sorted(folders.items()):
        try:
            removed += _clear(database, archive, folder, files)
        except TimeoutError:  # whoever holds it is about to commit a row; the next start looks again
            log.event(logger, "archive.not_cleared", logging.WARNING, folder=folder)
    return removed


def _clear(database: Database, archive: Archive, folder: str, suspects: set[str]) -> int:
    with archive.locked(folder):
        with database.write() as session:  # its turn comes when every writer before it, heard of or not, has ended
            strays = rows.unnamed(session, suspects)
        for relative in strays:
            archive.discard(relative)
    return len(strays)


def forget(database: Database, archive: Archive) -> int:
    """How many copies went. One that is about to get its row may be among them: it is fetched when it is wanted."""
    copies = archive.cached()
    with database.read() as session:
        copies.difference_update(rows.files(session))
    archive.forget(copies)
    return len(copies)
