"""What an operator said about retention, and what it has to say to an operator. The caller owns the transaction."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from node.db.retention_tables import RetentionHold, RetentionState

ONLY = 1  # the id of the one row of state
ALLOWED = timedelta(days=1)
SLACK = timedelta(minutes=5)  # by which a clock may be put right without ado


@dataclass(frozen=True)
class Problem:
    """Why less is removed than the rules say. remedy: a command, without ``lungnode`` and --data."""

    since: datetime
    sentence: str
    remedy: tuple[str, ...]


def hold(session: Session, study_uid: str, now: datetime) -> bool:
    """False when it was on hold before."""
    if session.get(RetentionHold, study_uid) is not None:
        return False
    session.add(RetentionHold(study_uid=study_uid, since=now))
    return True


def free(session: Session, study_uid: str) -> bool:
    """False when it was not on hold."""
    done = session.execute(delete(RetentionHold).where(RetentionHold.study_uid == study_uid))
    return bool(done.rowcount)  # type: ignore[attr-defined]


def held(session: Session) -> list[tuple[str, datetime]]:
    """(study UID, since), oldest first."""
    wanted = select(RetentionHold.study_uid, RetentionHold.since).order_by(RetentionHold.since)
    return list(session.execute(wanted).tuples())


def allow(session: Session, now: datetime) -> datetime:
    """The limit of a day is lifted; until when."""
    until = now + ALLOWED
    _row(session).allowed_until = until
    return until


def is_allowed(session: Session, now: datetime) -> bool:
    """What was said while the clock was ahead counts for nothing once it is right again."""
    row = session.get(RetentionState, ONLY, populate_existing=True)
    until = row.allowed_until if row else None
    return until is not None and now < until <= now + ALLOWED + SLACK


def problem(session: Session) -> Problem | None:
    row = session.get(RetentionState, ONLY, populate_existing=True)
    if row is None or not row.problem or row.problem_since is None:
        return None
    return Problem(row.problem_since, row.problem, tuple(row.remedy.split()))


def note_problem(session: Session, sentence: str, remedy: tuple[str, ...], now: datetime) -> None:
    """Empty: there is none any more."""
    row = _row(session)
    if bool(row.problem) != bool(sentence):
        row.problem_since = now if sentence else None
    row.problem, row.remedy = sentence, " ".join(remedy)


def _row(session: Session) -> RetentionState:
    row = session.get(RetentionState, ONLY, populate_existing=True)
    if row is None:
        row = RetentionState(id=ONLY, problem="", remedy="")
        session.add(row)
        session.flush()
    return row
