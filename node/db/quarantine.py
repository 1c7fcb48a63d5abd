"""Studies in quarantine: each broke its worker as often as the settings allow, got a report that says so, and is not
tried again by itself. The caller owns the transaction.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from node.core.job import JobKind
from node.core.study import StudyState
from node.db import anew, intake
from node.db.tables import Analysis, JobRow, Study

BEGIN, END = "The analysis broke off ", ": the study is quarantined."
IS_QUARANTINED = Analysis.reason.startswith(BEGIN) & Analysis.reason.endswith(END) & ~Analysis.superseded


def sentence(times: int, last: str) -> str:
    """The reason of the analysis of such a study. last: why the worker broke."""
    return f"{BEGIN}{times} time{'' if times == 1 else 's'} ({last or 'no reason was recorded'}){END}"


def _studies() -> Select[tuple[Study, Analysis]]:
    """Those for which nothing was asked since."""
    here = (Study.state == StudyState.ANALYSED) & IS_QUARANTINED
    return select(Study, Analysis).join(Analysis, Analysis.study_id == Study.id).where(here)


def studies(session: Session) -> list[tuple[str, datetime, str]]:
    """(study UID, since when, the sentence), the oldest first."""
    rows = session.execute(_studies().order_by(Analysis.analysed_at)).tuples()
    return [(study.study_uid, analysis.analysed_at, analysis.reason) for study, analysis in rows]


def release(session: Session, study_id: int, now: datetime) -> bool:
    """Another job for the same images, with all its attempts; False where the study is not in quarantine."""
    found = session.execute(_studies().where(Study.id == study_id)).first()
    if found is None:
        return False
    old = session.scalars(select(JobRow).where(JobRow.kind == JobKind.ANALYSE, JobRow.key == found[1].job_key)).one()
    intake.move_study(session, study_id, StudyState.ANALYSED, StudyState.RECEIVING)
    intake.move_study(session, study_id, StudyState.RECEIVING, StudyState.QUEUED)
    return anew.once_more(session, old, now)
