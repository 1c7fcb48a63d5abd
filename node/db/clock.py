"""A clock that was set back leaves times in the database that lie ahead of it; what waits for them would wait for as
long as the clock was set back. What was written at such a time proves it, whether the node ran then or not.

Each row is brought to now once; a job's creation stays, since it is in the bytes of its results. Nothing is lost by
being early: a study that is closed too soon opens again, a destination is asked once more.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import BindParameter, ColumnElement, bindparam, exists, func, or_, select, update
from sqlalchemy.orm import Session

from node.core.job import JobState
from node.core.study import StudyState
from node.db.commitment_tables import CommitmentRequest
from node.db.destination_tables import DestinationState
from node.db.intake import add_event
from node.db.tables import JobRow, Study

SLACK = timedelta(seconds=2)  # a clock that is kept by NTP may be nudged
Moment = datetime | BindParameter[datetime]
SENTENCE = "The system's clock was set back; the quiet time begins again."


def set_back(session: Session, now: datetime) -> bool:
    """Whether something waits for a time that only a clock before it was set back can have given."""
    return bool(session.scalar(_SET_BACK, {"now": now, "then": now + SLACK}))


def go_on(session: Session, now: datetime) -> int:
    """Let it wait from now on; how many rows that were."""
    for study_id in session.scalars(select(Study.id).where(_studies(now + SLACK))).all():
        add_event(session, study_id, now, SENTENCE)
    return sum(
        session.execute(update(table).where(ahead).values(**values)).rowcount  # type: ignore[attr-defined]
        for table, ahead, values in _ahead(now, now + SLACK)
    )


def _studies(then: Moment) -> ColumnElement[bool]:
    return (Study.state == StudyState.RECEIVING) & (Study.last_received_at > then)


def _ahead(now: Moment, then: Moment) -> list[tuple[type, ColumnElement[bool], dict[str, Moment]]]:
    """(table, the rows that wait for what lies ahead, what they get). then: after which no clock can have been yet."""
    job, peer, asked = JobRow, DestinationState, CommitmentRequest
    return [
        (Study, _studies(then), {"last_received_at": now, "opened_at": now}),
        (
            job,
            (job.state == JobState.READY)
            & (job.next_at > now)
            & (func.coalesce(job.claimed_at, job.created_at) > then),
            {"next_at": now},
        ),
        (peer, (peer.probe_at > now) & (peer.away_since > then), {"probe_at": now, "away_since": now}),
        (
            asked,
            asked.reported_at.is_(None) & (asked.next_at > now) & (asked.asked_at > then),
            {"next_at": now, "asked_at": now},
        ),
    ]


_SET_BACK = select(  # made once: it is asked every second
    or_(*(exists().where(ahead) for _, ahead, _ in _ahead(bindparam("now"), bindparam("then"))))
)
