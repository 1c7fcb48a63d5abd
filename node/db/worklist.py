"""The list of studies, newest first, page by page: what each holds, where it is and what was found, in few queries.

Pages go by keyset, as those of ``queries.pages``: each begins after the last study of the one before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Select, func, select, tuple_
from sqlalchemy.orm import Session

from node.core.study import StudyState
from node.db.key_tables import StudyKeys
from node.db.tables import Analysis, Delivery, Finding, Instance, Output, Patient, Series, Study

PAGE = 50


@dataclass(frozen=True)
class Wanted:
    """Filters; empty: any. person: a Patient ID, an Accession Number or the beginning of a name."""

    state: str = ""
    modality: str = ""
    day: str = ""  # of receipt, YYYY-MM-DD in UTC
    person: str = ""


@dataclass(frozen=True)
class Decided:
    """A class that a system decided for."""

    system: str
    class_name: str
    probability: float


@dataclass(frozen=True)
class Listed:
    study_uid: str
    state: StudyState
    modalities: str
    study_date: str
    patient_id: str
    patient_name: str
    description: str
    instances: int
    last_received_at: datetime
    outcome: str  # of the analysis that stands: analysed, refused or empty
    reason: str
    decided: tuple[Decided, ...]
    deliveries: dict[str, int]  # state -> how many, of that analysis


@dataclass(frozen=True)
class Page:
    """next: (time, id) of the last study, where there are more."""

    studies: tuple[Listed, ...]
    next: tuple[datetime, int] | None


def page(session: Session, wanted: Wanted, after: tuple[datetime, int] | None = None, limit: int = PAGE) -> Page:
    statement = _wanted(wanted).order_by(Study.last_received_at.desc(), Study.id.desc()).limit(limit + 1)
    if after is not None:
        statement = statement.where(tuple_(Study.last_received_at, Study.id) < after)
    rows = list(session.execute(statement).tuples())
    shown = rows[:limit]
    counts, analyses = _counts(session, shown), _analyses(session, shown)
    decided, owed = _decided(session, analyses), _deliveries(session, analyses)
    listed = []
    for study, patient, keys in shown:
        analysis = analyses.get(study.id)
        number = analysis.id if analysis else 0
        listed.append(
            Listed(
                study_uid=study.study_uid,
                state=StudyState(study.state),
                modalities=study.modalities.replace("\\", ", "),
                study_date=study.study_date,
                patient_id=patient.patient_id,
                patient_name=keys.patient_name if keys else "",
                description=keys.description if keys else "",
                instances=counts.get(study.id, 0),
                last_received_at=study.last_received_at,
                outcome=analysis.outcome if analysis else "",
                reason=analysis.reason if analysis else "",
                decided=tuple(decided.get(number, ())),
                deliveries=owed.get(number, {}),
            )
        )
    last = shown[-1][0] if len(rows) > limit else None
    return Page(tuple(listed), (last.last_received_at, last.id) if last else None)


def states(session: Session) -> dict[str, int]:
    """How many studies are in each state."""
    return dict(session.execute(select(Study.state, func.count()).group_by(Study.state)).tuples().all())


def outcome(session: Session, study_uid: str) -> str:
    """Of the analysis that stands: analysed, refused or empty."""
    standing = select(Analysis.outcome).join(Study, Analysis.study_id == Study.id).where(~Analysis.superseded)
    return session.scalar(standing.where(Study.study_uid == study_uid).order_by(Analysis.id.desc()).limit(1)) or ""


def _wanted(wanted: Wanted) -> Select[tuple[Study, Patient, StudyKeys]]:
    statement = (
        select(Study, Patient, StudyKeys)
        .join(Patient, Study.patient_id == Patient.id)
        .outerjoin(StudyKeys, StudyKeys.study_id == Study.id)
    )
    if wanted.state:
        statement = statement.where(Study.state == wanted.state)
    if wanted.modality:
        statement = statement.where(Study.modalities.contains(wanted.modality, autoescape=True))
    if wanted.day:
        begin = datetime.fromisoformat(f"{wanted.day}T00:00:00+00:00")
        end = datetime.fromisoformat(f"{wanted.day}T23:59:59.999999+00:00")
        statement = statement.where(Study.last_received_at.between(begin, end))
    if wanted.person:
        named = StudyKeys.patient_name.istartswith(wanted.person, autoescape=True)
        exact = (Patient.patient_id == wanted.person) | (Study.accession_number == wanted.person)
        statement = statement.where(exact | named)
    return statement


_Rows = Sequence[tuple[Study, Patient, StudyKeys]]


def _counts(session: Session, rows: _Rows) -> dict[int, int]:
    ids = [study.id for study, _, _ in rows]
    counted = (
        select(Series.study_id, func.count(Instance.id))
        .join(Instance, Instance.series_id == Series.id)
        .where(Series.study_id.in_(ids), ~Instance.is_own_result)
        .group_by(Series.study_id)
    )
    return dict(session.execute(counted).tuples().all())


def _analyses(session: Session, rows: _Rows) -> dict[int, Analysis]:
    """Of each study the newest analysis that stands."""
    ids = [study.id for study, _, _ in rows]
    standing = select(Analysis).where(Analysis.study_id.in_(ids), ~Analysis.superseded).order_by(Analysis.id)
    return {analysis.study_id: analysis for analysis in session.scalars(standing)}


def _decided(session: Session, analyses: dict[int, Analysis]) -> dict[int, list[Decided]]:
    ids = [analysis.id for analysis in analyses.values()]
    found: dict[int, list[Decided]] = {}
    wanted = select(Finding).where(Finding.analysis_id.in_(ids), Finding.decision).order_by(Finding.id)
    for row in session.scalars(wanted):
        found.setdefault(row.analysis_id, []).append(Decided(row.system, row.class_name, row.probability))
    return found


def _deliveries(session: Session, analyses: dict[int, Analysis]) -> dict[int, dict[str, int]]:
    ids = [analysis.id for analysis in analyses.values()]
    counted = (
        select(Output.analysis_id, Delivery.state, func.count())
        .join(Delivery, Delivery.output_id == Output.id)
        .where(Output.analysis_id.in_(ids))
        .group_by(Output.analysis_id, Delivery.state)
    )
    found: dict[int, dict[str, int]] = {}
    for analysis_id, state, number in session.execute(counted).tuples():
        found.setdefault(analysis_id, {})[state] = number
    return found
