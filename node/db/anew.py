"""Analyses of the same images once more: what was said of them does not stand. The caller owns the transaction."""

from __future__ import annotations

import hashlib
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from node.core.job import JobKind, JobState
from node.core.study import StudyState
from node.db import intake, jobs
from node.db.tables import JobRow, Study

CAME_AGAIN = "The file of an instance was lost or damaged and came again: the study is analysed once more."


def once_more(session: Session, old: JobRow, now: datetime) -> bool:
    """A job as the old one was, with all its attempts; False where it was asked for already."""
    key = hashlib.sha256(f"{old.key}\nonce more".encode()).hexdigest()  # an analysis of the first one is here
    payload, priority, pipeline = old.payload, old.priority, old.pipeline
    return jobs.add(
        session, JobKind.ANALYSE, old.subject_id, key, now, payload=payload, priority=priority, pipeline=pipeline
    )


def file_came_again(session: Session, study_uid: str, now: datetime) -> None:
    """Of an instance whose row is here: it was lost or damaged since, or a crash of SQLite brought back the row of a
    commit that had failed. A worker that has not begun will see the file; else the study is analysed once more."""
    study = session.scalars(select(Study).where(Study.study_uid == study_uid)).one()
    of_study = (JobRow.kind == JobKind.ANALYSE) & (JobRow.subject_id == study.id)
    newest = session.scalars(select(JobRow).where(of_study).order_by(JobRow.id.desc()).limit(1)).first()
    if study.state in (StudyState.RECEIVING, StudyState.STORED) or newest is None or newest.state == JobState.READY:
        return
    intake.move_study(session, study.id, StudyState(study.state), StudyState.RECEIVING)
    intake.move_study(session, study.id, StudyState.RECEIVING, StudyState.QUEUED)
    once_more(session, newest, now)
    intake.add_event(session, study.id, now, CAME_AGAIN)
