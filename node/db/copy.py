"""A consistent copy of an SQLite database that is in use, and the files of the archive that a database names."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Collection, Iterator
from pathlib import Path

from sqlalchemy import select, union_all
from sqlalchemy.orm import Session

from node.db.tables import Instance, Output

BUSY_SECONDS = 30.0
AT_ONCE = 1000  # rows, or paths of one question


def copy(source: Path, target: Path) -> None:
    """One consistent state, written whole and synced. In WAL mode writers do not wait for it."""
    with (
        contextlib.closing(sqlite3.connect(source, timeout=BUSY_SECONDS)) as held,
        contextlib.closing(sqlite3.connect(target)) as made,
    ):
        made.execute("PRAGMA synchronous=FULL")
        held.backup(made, pages=-1)  # in one step: a state between two commits


def files(session: Session) -> Iterator[str]:
    """Path of every received instance and every result, relative to the archive."""
    named = union_all(select(Instance.path), select(Output.path).where(Output.removed_at.is_(None)))
    yield from session.execute(named.execution_options(yield_per=AT_ONCE)).scalars()


def unnamed(session: Session, paths: Collection[str]) -> set[str]:
    """Those that are not among ``files``."""
    left, asked = set(paths), sorted(paths)
    for begin in range(0, len(asked), AT_ONCE):
        some = asked[begin : begin + AT_ONCE]
        received = select(Instance.path).where(Instance.path.in_(some))
        built = select(Output.path).where(Output.path.in_(some), Output.removed_at.is_(None))
        left.difference_update(session.scalars(union_all(received, built)))
    return left
