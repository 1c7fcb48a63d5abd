"""The delivery ledger: what is due at which destination, and what became of each attempt. The caller owns the
transaction."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from node.core.job import JobKind, JobState
from node.db.tables import Analysis, Delivery, Instance, JobRow, Output, Series, Study


@dataclass(frozen=True)
class Due:
    """One output that one destination is owed now."""

    job_id: int
    delivery_id: int
    destination: str
    sop_instance_uid: str
    sha256: str
    path: str  # of the output, relative to the archive
    study_id: int
    study_uid: str
    source_path: str  # of one received instance of the same study, relative to the archive


def due(session: Session, now: datetime, limit: int) -> list[Due]:
    """What may be sent now, oldest study first, at most ``limit`` rows."""
    source = (
        select(Instance.path)
        .join(Series, Instance.series_id == Series.id)
        .where(Series.study_id == Study.id, ~Instance.is_own_result)
        .order_by(Instance.id)
        .limit(1)
        .correlate(Study)
        .scalar_subquery()
    )
    wanted = (JobRow.id, Delivery.id, Delivery.destination, Output.sop_uid, Output.sha256, Output.path)
    statement = (
        select(*wanted, Study.id, Study.study_uid, source)
        .join(Delivery, JobRow.subject_id == Delivery.id)
        .join(Output, Delivery.output_id == Output.id)
        .join(Analysis, Output.analysis_id == Analysis.id)
        .join(Study, Analysis.study_id == Study.id)
        .where(JobRow.kind == JobKind.DELIVER, JobRow.state == JobState.READY, JobRow.next_at <= now)
        .order_by(JobRow.next_at, JobRow.id)
        .limit(limit)
    )
    return [Due(*row) for row in session.execute(statement)]


def note_attempt(
    session: Session, delivery_id: int, state: str, status: int | None, comment: str, attempts: int, now: datetime
) -> None:
    """One attempt with its answer. state: waiting, delivered, failed."""
    values: dict[str, object] = {
        "state": state,
        "last_status": status,
        "comment": comment[:500],
        "attempts": attempts,
        "last_attempt_at": now,
    }
    if state == "delivered":
        values["delivered_at"] = now
    session.execute(update(Delivery).where(Delivery.id == delivery_id).values(**values))
