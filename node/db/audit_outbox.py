"""How far a collector has the audit trail: everything up to one row of the chain, and nothing after it. The caller owns
the transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from node.db import audit
from node.db.audit import stamp
from node.db.audit_tables import AuditRow, AuditSent
from node.db.tables import Patient, Study


@dataclass(frozen=True)
class Standing:
    """sequence: the last row that it took. problem: one sentence; empty: none. waiting: rows that it has not."""

    collector: str
    sequence: int
    problem: str
    problem_since: datetime | None
    waiting: int


def begin(session: Session, collector: str) -> None:
    """This is the collector now, the only one; a new one gets what is chained from here on."""
    session.execute(delete(AuditSent).where(AuditSent.collector != collector))
    if collector and session.get(AuditSent, collector) is None:
        at = audit.head(session).sequence
        session.add(AuditSent(collector=collector, sequence=at, problem="", problem_since=""))


def taken(session: Session, collector: str, sequence: int) -> None:
    row = session.get_one(AuditSent, collector)
    row.sequence, row.problem, row.problem_since = sequence, "", ""


def failed(session: Session, collector: str, problem: str, now: datetime) -> None:
    row = session.get_one(AuditSent, collector)
    row.problem, row.problem_since = problem, row.problem_since or stamp(now)


def standings(session: Session) -> list[Standing]:
    """One, or none where there is no collector."""
    newest = audit.head(session).sequence + audit.unchained(session)
    return [_standing(row, newest) for row in session.scalars(select(AuditSent))]


def _standing(row: AuditSent, newest: int) -> Standing:
    since = datetime.fromisoformat(row.problem_since) if row.problem_since else None
    return Standing(row.collector, row.sequence, row.problem, since, newest - row.sequence)


def patients(session: Session, study_uids: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Patient ID and issuer by study, where it is known here."""
    wanted = select(Study.study_uid, Patient.patient_id, Patient.issuer).join(Patient, Study.patient_id == Patient.id)
    found = session.execute(wanted.where(Study.study_uid.in_(set(study_uids))))
    return {uid: (patient_id, issuer) for uid, patient_id, issuer in found}


def count(session: Session) -> int:
    return session.scalar(select(func.count()).select_from(AuditRow)) or 0
