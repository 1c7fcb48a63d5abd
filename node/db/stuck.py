"""What goes no further by itself, each with one sentence and the command that mends it; and the operator's new try.

Sentences name UIDs and destinations alone, so that a health page may show them; what a peer or an exception said stands
apart (``said``). The caller owns the transaction.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Select, func, select, update
from sqlalchemy.orm import Session

from node.core.job import JobKind, JobState
from node.core.study import StudyState
from node.db import audit_outbox, destinations, holds, intake, jobs, quarantine, retention
from node.db.tables import Analysis, Delivery, JobRow, Output, RefusedClass, Study

UNFINISHED = (StudyState.RECEIVING, StudyState.QUEUED, StudyState.ANALYSING)
GIVEN_UP = ("failed", "refused")
NAMES = select(Delivery.destination).distinct().order_by(Delivery.destination)
NEWEST_JOBS = select(func.max(JobRow.id)).where(JobRow.kind == JobKind.ANALYSE).group_by(JobRow.subject_id)
GIVEN_UP_STUDIES = (
    select(Study, JobRow)
    .join(JobRow, (JobRow.subject_id == Study.id) & JobRow.id.in_(NEWEST_JOBS))
    .where(Study.state == StudyState.FAILED)
    .order_by(Study.last_received_at)
)

WITHOUT_PRIORS = (
    select(Study, JobRow)
    .join(JobRow, JobRow.subject_id == Study.id)
    .where(JobRow.kind == JobKind.PRIORS, JobRow.state == JobState.PARKED)
    .order_by(JobRow.finished_at)
)


@dataclass(frozen=True)
class Stuck:
    """since: of the oldest; said: by the peer or the exception; command: arguments of ``lungnode``, without --data."""

    subject: str  # a study UID, the name of a destination, or what of the node
    since: datetime
    sentence: str
    command: tuple[str, ...]
    said: str = ""


@dataclass(frozen=True)
class DestinationState:
    """What one destination is owed and how it answers. state: one of delivered, waiting, failing, away, paused."""

    name: str
    state: str
    waiting: int
    oldest_waiting_at: datetime | None
    given_up: int
    delivered: int
    last_delivered_at: datetime | None
    next_try_at: datetime | None


@dataclass(frozen=True)
class Backlog:
    """What is on its way. oldest: of the studies that have no result yet, by the arrival of their last instance."""

    studies: dict[str, int]  # by state
    oldest_study_uid: str
    oldest_since: datetime | None
    destinations: tuple[DestinationState, ...]

    @property
    def unfinished(self) -> int:
        return sum(self.studies.get(state, 0) for state in UNFINISHED)

    @property
    def waiting(self) -> int:
        return sum(one.waiting for one in self.destinations)


def backlog(session: Session) -> Backlog:
    oldest = session.execute(
        select(Study.study_uid, Study.last_received_at)
        .where(Study.state.in_(UNFINISHED))
        .order_by(Study.last_received_at)
        .limit(1)
    ).first()
    return Backlog(
        dict(session.execute(select(Study.state, func.count()).group_by(Study.state)).tuples().all()),
        oldest[0] if oldest else "",
        oldest[1] if oldest else None,
        tuple(_destination(session, name) for name in session.scalars(NAMES)),
    )


def stuck(session: Session) -> list[Stuck]:
    """Studies first, then destinations; nothing that is merely on its way."""
    found = [_given_up_study(study, job) for study, job in session.execute(GIVEN_UP_STUDIES).tuples()]
    found += [Stuck(uid, at, f"Study {uid}: {said}", ("retry", uid)) for uid, at, said in quarantine.studies(session)]
    found += [_without_priors(study, job) for study, job in session.execute(WITHOUT_PRIORS).tuples()]
    if problem := holds.problem(session):
        found.append(Stuck("retention", problem.since, problem.sentence, problem.remedy))
    for one in audit_outbox.standings(session):
        if one.problem and one.problem_since:
            text = f"{one.problem} {_count(one.waiting, 'message')} wait{'s' if one.waiting == 1 else ''} for it."
            found.append(Stuck("audit", one.problem_since, text, ("audit", "status")))
    for name in session.scalars(NAMES):
        found += _of_destination(session, name)
    return found


def study_again(session: Session, study_uid: str, now: datetime) -> bool | None:
    """Another try of an analysis that was given up; False when it was not. None: no such study."""
    study_id = session.scalar(select(Study.id).where(Study.study_uid == study_uid))
    if study_id is None:
        return None
    parked = (JobRow.kind == JobKind.ANALYSE) & (JobRow.subject_id == study_id) & (JobRow.state == JobState.PARKED)
    job_id = session.scalar(select(JobRow.id).where(parked).order_by(JobRow.id.desc()).limit(1))
    if job_id is not None and intake.move_study(session, study_id, StudyState.FAILED, StudyState.QUEUED):
        jobs.unpark(session, job_id, now)
    elif not quarantine.release(session, study_id, now):
        return False
    intake.add_event(session, study_id, now, "An operator asked for another try of the analysis.")
    return True


def study_anew(session: Session, study_uid: str, now: datetime) -> str:
    """Have an analysed study closed and, where models or settings are others than they were, analysed once more. The
    sentence why not; empty: it is being done."""
    study_id = session.scalar(select(Study.id).where(Study.study_uid == study_uid))
    if study_id is None:
        return "There is no such study here."
    if not intake.instance_set(session, study_id) or retention.absent(session, study_id):
        return "Images of the study were removed from the archive: send it again to have all of it analysed."
    if not intake.move_study(session, study_id, StudyState.ANALYSED, StudyState.RECEIVING):
        return "The study is on its way already."
    session.execute(update(Study).where(Study.id == study_id).values(opened_at=now))
    intake.add_event(session, study_id, now, "An operator asked for another analysis.")
    return ""


def _given_up_study(study: Study, job: JobRow) -> Stuck:
    return Stuck(
        study.study_uid,
        job.finished_at or study.last_received_at,
        f"The analysis of study {study.study_uid} was given up after {_count(job.attempts, 'attempt')}.",
        ("retry", study.study_uid),
        job.error,
    )


def _without_priors(study: Study, job: JobRow) -> Stuck:
    return Stuck(
        study.study_uid,
        job.finished_at or study.last_received_at,
        f"The priors of study {study.study_uid} were not fetched; given up after {_count(job.attempts, 'attempt')}.",
        ("pull", "--priors", study.study_uid),
        job.error,
    )


def _owed(name: str) -> Select[tuple[str, int, int, datetime, datetime, datetime | None, str, str]]:
    """By state: rows, most attempts, oldest job, next turn, newest delivery, what was said, what the job failed of; of
    analyses that stand."""
    return (
        select(Delivery.state, func.count(), func.max(Delivery.attempts), func.min(JobRow.created_at))
        .add_columns(func.min(JobRow.next_at), func.max(Delivery.delivered_at), func.max(Delivery.comment))
        .add_columns(func.max(JobRow.error))
        .join(JobRow, (JobRow.kind == JobKind.DELIVER) & (JobRow.subject_id == Delivery.id))
        .join(Output, Delivery.output_id == Output.id)
        .join(Analysis, Output.analysis_id == Analysis.id)
        .where(Delivery.destination == name, ~Analysis.superseded)
        .group_by(Delivery.state)
    )


def _destination(session: Session, name: str) -> DestinationState:
    rows = {row[0]: row for row in session.execute(_owed(name)).tuples()}
    counts = {state: row[1] for state, row in rows.items()}
    waiting, given_up = rows.get("waiting"), sum(counts.get(state, 0) for state in GIVEN_UP)
    standing = destinations.standing(session, name)
    state = "delivered" if waiting is None else "failing" if waiting[2] else "waiting"
    state = "paused" if standing.paused_at else "away" if standing.away_since else state
    return DestinationState(
        name=name,
        state=state,
        waiting=counts.get("waiting", 0) + counts.get("committing", 0),
        oldest_waiting_at=waiting[3] if waiting else None,
        next_try_at=waiting[4] if waiting else None,
        given_up=given_up,
        delivered=counts.get("delivered", 0),
        last_delivered_at=rows["delivered"][5] if "delivered" in rows else None,
    )


def _of_destination(session: Session, name: str) -> list[Stuck]:
    found = []
    standing = destinations.standing(session, name)
    for state, number, attempts, oldest, _, _, said, error in session.execute(_owed(name)).tuples():
        what = _count(number, "result")
        if state == "waiting" and standing.paused_at:
            text = f"{what} for {name} waits: it was paused by an operator."
            found.append(Stuck(name, standing.paused_at, text, ("destinations", "resume", name)))
        elif state == "waiting" and attempts:
            text = f"{what} could not be delivered to {name} in {_count(attempts, 'attempt')}; it is tried again."
            found.append(Stuck(name, oldest, text, ("destinations", "retry", name), said))
        elif state == "committing" and error:
            text = f"{what} that {name} took: it did not say that it keeps {'it' if number == 1 else 'them'}."
            found.append(Stuck(name, oldest, text, ("destinations", "retry", name), error))
        elif state == "failed":
            text = f"{what} for {name} held back or given up."
            found.append(Stuck(name, oldest, text, ("destinations", "retry", name), said))
        elif state == "refused":
            classes = session.scalars(select(RefusedClass.sop_class_uid).where(RefusedClass.destination == name))
            names = ", ".join(sorted(destinations.class_name(uid) for uid in classes))
            text = f"{what} not sent to {name}, which does not take {names or 'their SOP class'}."
            found.append(Stuck(name, oldest, text, ("destinations", "forget", name), said))
    return found


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
