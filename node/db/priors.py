"""Which studies are priors of which, and what is needed to ask a peer for them. The caller owns the transaction."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import bindparam, exists, select
from sqlalchemy.orm import Session

from node.core.job import JobKind, JobState
from node.db import jobs
from node.db.driver import Rendered
from node.db.retention_tables import Prior
from node.db.tables import Instance, JobRow, Series, Study


@dataclass(frozen=True)
class Subject:
    """A study whose priors are wanted. path: of its first instance, relative to the archive; empty: it has no files."""

    study_id: int
    study_uid: str
    study_date: str
    path: str


def subject(session: Session, study_id: int) -> Subject:
    study = session.get_one(Study, study_id)
    first = (
        select(Instance.path)
        .join(Series, Instance.series_id == Series.id)
        .where(Series.study_id == study_id, ~Instance.is_own_result)
        .order_by(Instance.id)
        .limit(1)
    )
    return Subject(study.id, study.study_uid, study.study_date, session.scalar(first) or "")


def has_files(session: Session, study_uid: str) -> bool:
    """Whether anything of the study that we did not make is here."""
    instance = (Series.study_id == Study.id) & (Instance.series_id == Series.id) & ~Instance.is_own_result
    return session.scalar(select(exists().where(Study.study_uid == study_uid, instance))) or False


def is_marked(session: Session, study_uid: str) -> bool:
    return session.get(Prior, study_uid) is not None


def mark(session: Session, study_uid: str, of_study_id: int, source: str, now: datetime) -> None:
    """Before it is fetched, so that it is known for what it is when it comes. The first mark stays."""
    if session.get(Prior, study_uid) is None:
        session.add(Prior(study_uid=study_uid, of_study_id=of_study_id, source=source, asked_at=now))


_PRIOR_OF = Rendered(
    select(Prior.source, Study.study_uid)
    .join(Study, Prior.of_study_id == Study.id)
    .where(Prior.study_uid == select(Study.study_uid).where(Study.id == bindparam("study")).scalar_subquery())
)


def prior_of(session: Session, study_id: int) -> str:
    """UID of the study that this one was fetched for; empty where somebody else than its source sent anything of it."""
    row = _PRIOR_OF.first(session.connection(), {"study": study_id})
    if row is None:
        return ""
    source, of_uid = row
    others = exists().where(
        Series.study_id == study_id,
        Instance.series_id == Series.id,
        ~Instance.is_own_result,
        Instance.origin_aet != source.partition("@")[0],
    )
    return "" if session.scalar(select(others)) else str(of_uid)


def settle(session: Session, study_id: int, now: datetime) -> None:
    """An operator fetched them by hand: nothing is left to do for the node."""
    which = (JobRow.kind == JobKind.PRIORS) & (JobRow.subject_id == study_id)
    for job_id, state in session.execute(select(JobRow.id, JobRow.state).where(which)).tuples().all():
        if state == JobState.PARKED:
            jobs.unpark(session, job_id, now)
        jobs.withdraw(session, job_id, now, "")
