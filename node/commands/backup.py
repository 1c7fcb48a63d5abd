"""``lungnode backup``: a copy of a data folder that can be served as it is, also of a node that runs.

The database is copied first, in one consistent piece, then every file that the copy names. The node writes a file
before its row and never changes one that a row names; where retention removes one meanwhile, both are copied again, so
nothing is missing. Of an archive in a bucket nothing is copied. What the backup had before stays in it, removed or not.
The database takes its name last: a backup that breaks off leaves the one before it whole. Files that are there already
are not copied again.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from node.commands.asking import open_database
from node.core.audit import account
from node.core.errors import Misconfigured
from node.db import copy as rows
from node.db import told
from node.db.session import Database
from node.folders import Folders, database_url

NAME = "lungnode.sqlite"
TRIES = 3


def backup(data: Path, to: Path) -> int:
    """0 when the copy is whole; 1 when a file that the database names is missing, after naming each."""
    if database_url(data):
        raise Misconfigured(
            "the database is a PostgreSQL server, which copies itself: pg_dump first, then the folder of the archive, "
            "or the bucket (docs/cluster.md)"
        )
    database, source, target = open_database(data), Folders(data), Folders(to)
    if target.run.exists():
        raise Misconfigured(f"{to} is the data folder of a node; a backup needs a folder of its own")
    with database.write() as session:
        told.command(session, account(), f"backup --to {to}", database.clock())
    database.close()
    bucket = _bucket(source)
    try:
        copied, missing = (0, []) if bucket else _copy_whole(source, target)
        if bucket:
            _put_in_place(_copied_database(source, target), target.data / NAME)
    except OSError as error:
        raise Misconfigured(f"cannot write the backup to {to}: {error.strerror}") from error
    for relative in missing:
        sys.stderr.write(f"lungnode: {source.archive / relative} is missing\n")
    files = f"; what is in {bucket} stays there (docs/cluster.md)" if bucket else f" and {copied} new files"
    sys.stdout.write(f"{to}: the database{files}\n")
    return 1 if missing else 0


def _bucket(source: Folders) -> str:
    """Where the archive of the last run was, if it was in one."""
    last = source.last_settings()
    return last.archive.url if last else ""


def _copy_whole(source: Folders, target: Folders) -> tuple[int, list[str]]:
    """As ``_copy``, once more where retention removed files while they were copied."""
    copied, missing = _copy(source, target)
    for _ in range(TRIES - 1):
        with open_database(source.data).read() as session:
            removed = rows.unnamed(session, missing)
        if not removed:
            break
        more, missing = _copy(source, target)
        copied += more
    return copied, missing


def _copy(source: Folders, target: Folders) -> tuple[int, list[str]]:
    """(files copied, files that are missing)."""
    fresh, copied, missing = _copied_database(source, target), 0, list[str]()
    database = Database(f"sqlite:///{fresh}")
    try:
        with database.read() as session:
            for relative in rows.files(session):
                try:
                    copied += _copy_file(source.archive / relative, target.archive / relative)
                except FileNotFoundError:
                    missing.append(relative)
    finally:
        database.close()
    _put_in_place(fresh, target.data / NAME)
    return copied, missing


def _copied_database(source: Folders, target: Folders) -> Path:
    """Under a name that it keeps until all that it names is there."""
    target.data.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = target.data / f"{NAME}.new"
    for left in target.data.glob(f"{fresh.name}*"):
        left.unlink()
    rows.copy(source.data / NAME, fresh)
    fresh.chmod(0o600)
    return fresh


def _copy_file(source: Path, target: Path) -> bool:
    """False when it is there. A file has its name when it is whole."""
    wanted = source.stat()
    if target.exists() and target.stat().st_size == wanted.st_size and target.stat().st_mtime_ns == wanted.st_mtime_ns:
        return False
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    part = target.with_suffix(".part")
    shutil.copyfile(source, part)
    shutil.copystat(source, part)
    _sync(part)
    part.replace(target)
    return True


def _put_in_place(fresh: Path, final: Path) -> None:
    """The new database instead of the one before; everything of it is on the disk first."""
    for left in (final.with_name(f"{NAME}-wal"), final.with_name(f"{NAME}-shm")):
        left.unlink(missing_ok=True)  # of a look into the last backup
    os.sync()  # the names of the files, in up to 512 folders
    fresh.replace(final)
    _sync(final.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
