"""What readers say of an analysis. Each reader has one word on each; a new one takes its place. The caller owns the
transaction."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from node.db.key_tables import StudyKeys
from node.db.query_tables import VERDICTS as VERDICTS
from node.db.query_tables import VerdictRow
from node.db.tables import Analysis, Patient, Study

SHORTEST = 3  # letters of a word that may be a name


@dataclass(frozen=True)
class Verdict:
    reader: str
    verdict: str
    comment: str
    at: datetime


def give(session: Session, analysis_id: int, said: Verdict) -> None:
    """Keep what a reader says of an analysis that exists."""
    key = (VerdictRow.analysis_id == analysis_id) & (VerdictRow.reader == said.reader)
    row = session.scalars(select(VerdictRow).where(key)).first()
    if row is None:
        row = VerdictRow(analysis_id=analysis_id, reader=said.reader)
        session.add(row)
    row.verdict, row.comment, row.at = said.verdict, said.comment, said.at


def given(session: Session, analysis_id: int) -> list[Verdict]:
    """Oldest first."""
    rows = session.scalars(select(VerdictRow).where(VerdictRow.analysis_id == analysis_id).order_by(VerdictRow.at))
    return [Verdict(row.reader, row.verdict, row.comment, row.at) for row in rows]


def study_of(session: Session, analysis_id: int) -> str | None:
    """Study Instance UID of an analysis; None where there is none."""
    return session.scalar(
        select(Study.study_uid).join(Analysis, Analysis.study_id == Study.id).where(Analysis.id == analysis_id)
    )


def names_the_patient(session: Session, analysis_id: int, text: str) -> bool:
    """Whether a word of the text is a name, the Patient ID or the Accession Number of the study, as far as known."""
    found = session.execute(
        select(Patient.patient_id, Study.accession_number, StudyKeys.patient_name, StudyKeys.birth_date)
        .select_from(Analysis)
        .join(Study, Analysis.study_id == Study.id)
        .join(Patient, Study.patient_id == Patient.id)
        .outerjoin(StudyKeys, StudyKeys.study_id == Study.id)
        .where(Analysis.id == analysis_id)
    ).one()
    own = {part for value in found for part in _words(value or "") if len(part) >= SHORTEST}
    return bool(own & _words(text))


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+(?:-\w+)*", text.lower()))
