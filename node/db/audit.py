"""The audit trail: append, chain, verify. The caller owns the transaction.

A row is written by the transaction that it tells of, by whatever process, and is there exactly when that is. One duty
of the supervisor then chains what is new in the order of its numbers: each row gets the next sequence, the hash of the
row before, and its own, the SHA-256 of a JSON array of all its columns. Nothing is chained twice or left out: what has
no sequence is what remains to be chained.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Integer, bindparam, func, insert, select, text, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from node.core.audit import AuditEvent
from node.db.audit_tables import AuditRow
from node.db.driver import Rendered
from node.db.tables import table_of

ROWS = table_of(AuditRow)
BEGIN = "0" * 64  # "previous" of the first row
SAID = ("id", "at", "kind", "outcome", "actor", "aet", "address", "study_uid", "details")
BATCH = 1000
_ADD = Rendered(insert(ROWS), SAID[1:])
_LINK = Rendered(
    update(ROWS)
    .where(ROWS.c.id == bindparam("row"))
    .values(sequence=bindparam("number"), previous=bindparam("before"), hash=bindparam("own"))
)
_HEAD = Rendered(
    select(ROWS.c.sequence, ROWS.c.hash)
    .where(ROWS.c.sequence.is_not(None))
    .order_by(ROWS.c.sequence.desc())
    .limit(1)
)  # fmt: skip
_UNCHAINED = Rendered(select(func.count()).select_from(ROWS).where(ROWS.c.sequence.is_(None)))
_NEW = Rendered(
    select(*(ROWS.c[name] for name in SAID))
    .where(ROWS.c.sequence.is_(None))
    .order_by(ROWS.c.id)
    .limit(bindparam("most", type_=Integer))
)


@dataclass(frozen=True)
class Head:
    """The newest row of the chain."""

    sequence: int
    hash: str

    def __str__(self) -> str:
        return f"{self.sequence}:{self.hash}"


@dataclass(frozen=True)
class Verdict:
    """rows: that hold. problem: one sentence about the first row that does not; empty: all do."""

    rows: int
    head: Head
    unchained: int
    problem: str


def stamp(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def append(session: Session, event: AuditEvent, now: datetime) -> None:
    """One more event, part of the caller's transaction."""
    row = {
        "at": stamp(now),
        "kind": event.kind,
        "outcome": event.outcome,
        "actor": _plain(event.actor, 64),
        "aet": _plain(event.aet, 16),
        "address": _plain(event.address, 128),
        "study_uid": _plain(event.study_uid, 64),
        "details": json.dumps(event.details, sort_keys=True, default=str),
    }
    _ADD.run(session.connection(), row)


def _plain(text: str, longest: int) -> str:
    return "".join(letter for letter in text if letter.isprintable())[:longest]


def digest(sequence: Any, said: tuple[Any, ...], previous: Any) -> str:
    """The hash of a row: of its sequence, the columns SAID, and the hash before."""
    canonical = json.dumps([sequence, *said, previous], separators=(",", ":"), default=repr)
    return hashlib.sha256(canonical.encode()).hexdigest()


def head(session: Session) -> Head:
    """BEGIN's where nothing is chained yet."""
    found = _HEAD.first(session.connection(), {})
    return Head(found[0], found[1]) if found else Head(0, BEGIN)


def unchained(session: Session) -> int:
    ((count,),) = _UNCHAINED.rows(session.connection(), {})
    return int(count)


def chain(session: Session, limit: int = BATCH) -> int:
    """Chain what is new, at most ``limit`` rows; how many."""
    connection = session.connection()
    rows = _NEW.rows(connection, {"most": limit})
    last = head(session)
    for row in rows:
        own = digest(last.sequence + 1, row, last.hash)
        _LINK.run(connection, {"row": row[0], "number": last.sequence + 1, "before": last.hash, "own": own})
        last = Head(last.sequence + 1, own)
    return len(rows)


def verify(session: Session, kept: Head | None = None) -> Verdict:
    """Go through the chain from its first row, or from a head that was kept elsewhere, which must still be there."""
    last, number_before = Head(0, BEGIN), 0
    problem = ""
    if kept is not None:
        known = select(ROWS.c.id, ROWS.c.hash).where(ROWS.c.sequence == kept.sequence)
        found = session.execute(known).first()
        if found is None:
            problem = f"Row {kept.sequence}, whose hash was kept, is not there: the chain was cut off or begun again."
        elif found[1] != kept.hash:
            problem = f"Row {kept.sequence} has another hash than the one that was kept: the chain was made again."
        else:
            last, number_before = kept, found[0]
    good, lasting = 0, _numbers_last(session)
    try:
        for row in () if problem else _after(session, last.sequence):
            problem = _objection(row, last, number_before if lasting else None)
            if problem:
                break
            last, number_before, good = Head(row["sequence"], row["hash"]), row["id"], good + 1
    except (SQLAlchemyError, UnicodeDecodeError):
        problem = f"The row after {last.sequence} cannot be read."
    if not problem and lasting:
        problem = _missing_new(session, number_before)
    return Verdict(good, last, 0 if problem else unchained(session), problem)


def _after(session: Session, sequence: int) -> Iterator[dict[str, Any]]:
    wanted = select(ROWS).where(ROWS.c.sequence > sequence).order_by(ROWS.c.sequence)
    for row in session.execute(wanted.execution_options(yield_per=BATCH)).mappings():
        yield dict(row)


def _objection(row: dict[str, Any], last: Head, number_before: int | None) -> str:
    expected = last.sequence + 1
    if row["sequence"] != expected:
        return f"Row {expected} is missing: after {last.sequence} comes {row['sequence']}."
    if row["previous"] != last.hash:
        return f"Row {expected} does not follow the row before it: one of them was put in, removed or moved."
    if row["hash"] != digest(expected, tuple(row[name] for name in SAID), last.hash):
        return f"Row {expected} was changed after it was chained."
    if number_before is not None and row["id"] != number_before + 1:
        return f"Before row {expected} an event was removed that was not chained yet (number {number_before + 1})."
    return ""


def _numbers_last(session: Session) -> bool:
    """Whether numbers of events have no gaps: SQLite gives one only to what is committed, PostgreSQL also to others."""
    return session.get_bind().dialect.name == "sqlite"


def _missing_new(session: Session, number_before: int) -> str:
    """Of what waits for the chain."""
    waiting = session.execute(
        select(func.count(), func.min(ROWS.c.id), func.max(ROWS.c.id)).where(ROWS.c.sequence.is_(None))
    ).one()
    if waiting[0] and (waiting[1] != number_before + 1 or waiting[2] != number_before + waiting[0]):
        return f"An event after number {number_before} was removed before it was chained."
    given = session.scalar(text("SELECT seq FROM sqlite_sequence WHERE name = 'audit_events'")) or 0
    if given != number_before + waiting[0]:
        return f"Rows at the end were removed: {given} events were written, {number_before + waiting[0]} are there."
    return ""


def rows(session: Session, after: int = 0, limit: int = BATCH) -> list[dict[str, Any]]:
    """Chained rows after a sequence, in order."""
    wanted = select(ROWS).where(ROWS.c.sequence > after).order_by(ROWS.c.sequence).limit(limit)
    return [dict(row) for row in session.execute(wanted).mappings()]
