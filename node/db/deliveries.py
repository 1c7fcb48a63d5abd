"""The delivery ledger: what is due at which destination, and what became of each attempt. The caller owns the
transaction."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Integer, bindparam, func, insert, select, update
from sqlalchemy.orm import Session

from node.core.job import JobKind, JobState
from node.db import jobs, tallies, told
from node.db.driver import Rendered, Row
from node.db.tables import Analysis, Delivery, Instance, JobRow, Output, Patient, Series, StandIn, Study, table_of

STATES = ("waiting", "committing", "delivered", "failed", "replaced", "refused", "superseded")  # of a delivery
SUPERSEDED = "superseded: a newer analysis of the study took its place before it was delivered"


@dataclass(frozen=True)
class Due:
    """One output that one destination is owed now."""

    job_id: int
    delivery_id: int
    destination: str
    output_id: int
    original_id: int  # the output that it stands in for, or itself
    kind: str
    sop_class_uid: str
    sop_instance_uid: str
    sha256: str
    path: str  # of the output, relative to the archive
    analysis_id: int
    study_id: int
    study_uid: str
    state: str  # waiting; committing where the destination took it and has to commit it
    tries: int  # so far, with those that ended before anything was sent

    @property
    def place(self) -> tuple[int, int, int]:
        """Results of one analysis leave in the order in which they were built; a stand-in has its original's place."""
        return self.analysis_id, self.original_id, self.job_id


_DELIVERIES = table_of(Delivery)
_ADD = Rendered(insert(_DELIVERIES).returning(_DELIVERIES.c.id), ("output_id", "destination", "state", "owed_at"))
_ORIGINAL = func.coalesce(StandIn.original_id, Output.id)
_DUE = (
    select(JobRow.id, Delivery.id, Delivery.destination, Output.id, _ORIGINAL, Output.kind, Output.sop_class_uid)
    .add_columns(Output.sop_uid, Output.sha256, Output.path, Analysis.id, Study.id, Study.study_uid)
    .add_columns(Delivery.state, Delivery.attempts)
    .join(Delivery, JobRow.subject_id == Delivery.id)
    .join(Output, Delivery.output_id == Output.id)
    .join(Analysis, Output.analysis_id == Analysis.id)
    .join(Study, Analysis.study_id == Study.id)
    .outerjoin(StandIn, StandIn.output_id == Output.id)
    .where(JobRow.kind == JobKind.DELIVER, JobRow.state == JobState.READY, JobRow.next_at <= bindparam("now"))
    .order_by(JobRow.next_at, JobRow.id)
    .limit(bindparam("most", type_=Integer))
)
_DUE_ANYWHERE = Rendered(_DUE)  # asked four times a second


def due(
    session: Session, now: datetime, limit: int, *, only: str | None = None, without: Collection[str] = ()
) -> list[Due]:
    """What may be sent now, longest due first, at most ``limit`` rows. only: to that destination; without: not to
    those."""
    asked = {"now": now, "most": limit}
    if only is None and not without:
        return [Due(*row) for row in _DUE_ANYWHERE.rows(session.connection(), asked)]
    statement = _DUE
    if only is not None:
        statement = statement.where(Delivery.destination == only)
    if without:
        statement = statement.where(Delivery.destination.not_in(without))
    return [Due(*row) for row in session.execute(statement, asked)]


@dataclass(frozen=True)
class Sources:
    """What was received of a study. patient_id, issuer: as whom it was received first. files: (path, SHA-256 of the
    data set), in the order of receipt."""

    patient_id: str
    issuer: str
    files: tuple[tuple[str, str], ...]


def sources(session: Session, study_id: int) -> Sources:
    received = (Series.study_id == study_id) & ~Instance.is_own_result
    files = select(Instance.path, Instance.sha256).join(Series).where(received).order_by(Instance.id)
    patient = select(Patient.patient_id, Patient.issuer).join(Study).where(Study.id == study_id)
    patient_id, issuer = session.execute(patient).one()
    return Sources(patient_id, issuer, tuple((path, sha256) for path, sha256 in session.execute(files)))


def analyse_keys(session: Session, analyses: Collection[int]) -> dict[int, str]:
    """The keys of the jobs that made these analyses."""
    found = session.execute(select(Analysis.id, Analysis.job_key).where(Analysis.id.in_(analyses)))
    return dict(found.tuples().all())


def owe(session: Session, output_id: int, destination: str, now: datetime) -> None:
    """A delivery with its job, unless there is one; one that was given up is due again."""
    key = (Delivery.output_id == output_id) & (Delivery.destination == destination)
    known = session.scalars(select(Delivery).where(key)).first()
    if known is None:
        begin(session, output_id, session.get_one(Output, output_id).sop_uid, destination, now)
    elif known.state in ("failed", "refused"):
        try_again(session, known.id, now)


def begin(session: Session, output_id: int, sop_uid: str, destination: str, now: datetime) -> None:
    """The first delivery of an output to a destination, with its job."""
    owed = {"output_id": output_id, "destination": destination, "state": "waiting", "owed_at": now}
    ((delivery_id,),) = _ADD.rows(session.connection(), owed)
    jobs.add(session, JobKind.DELIVER, delivery_id, f"{sop_uid}|{destination}", now)


def try_again(session: Session, delivery_id: int, now: datetime) -> bool:
    """A delivery that was given up waits again; False when its job is not parked."""
    job = (JobRow.kind == JobKind.DELIVER) & (JobRow.subject_id == delivery_id)
    job_id = session.scalar(select(JobRow.id).where(job))
    if job_id is None or not jobs.unpark(session, job_id, now):
        return False
    session.execute(update(Delivery).where(Delivery.id == delivery_id).values(state="waiting"))
    return True


_ATTEMPTED = Rendered(
    update(_DELIVERIES)
    .where(_DELIVERIES.c.id == bindparam("delivery"))
    .values(state=bindparam("in_state"), last_status=bindparam("status"), comment=bindparam("said"))
    .values(attempts=bindparam("tries"), last_attempt_at=bindparam("now"))
    .values(
        delivered_at=func.coalesce(
            bindparam("taken_at", type_=_DELIVERIES.c.delivered_at.type), _DELIVERIES.c.delivered_at
        )
    )
)


def note_attempt(
    session: Session, delivery_id: int, state: str, status: int | None, comment: str, attempts: int, now: datetime
) -> None:
    """One attempt with its answer. state: one of STATES."""
    values = {
        "delivery": delivery_id,
        "in_state": state,
        "status": status,
        "said": comment[:500],
        "tries": attempts,
        "now": now,
        "taken_at": now if state == "delivered" else None,
    }
    _ATTEMPTED.run(session.connection(), values)
    told.delivery(session, delivery_id, now)
    tallies.delivery(session, delivery_id, state, now)


_OVERTAKEN = (
    select(Delivery.id, JobRow.id)
    .join(JobRow, (JobRow.kind == JobKind.DELIVER) & (JobRow.subject_id == Delivery.id))
    .join(Output, Delivery.output_id == Output.id)
    .join(Analysis, Output.analysis_id == Analysis.id)
    .where(Delivery.state == "waiting", JobRow.state == JobState.READY, Analysis.superseded)
)
_OVERTAKEN_OF_STUDY = Rendered(_OVERTAKEN.where(Analysis.study_id == bindparam("study")))
_IS_OVERTAKEN = Rendered(_OVERTAKEN.where(Delivery.id == bindparam("delivery")))


def supersede_study(session: Session, study_id: int, now: datetime) -> None:
    """End what waits of superseded analyses of a study.

    An association that is under way is let be: what it does not deliver is found at the next turn.
    """
    _supersede(session, _OVERTAKEN_OF_STUDY.rows(session.connection(), {"study": study_id}), now)


def supersede_deliveries(session: Session, items: Collection[Due], now: datetime) -> None:
    """End those that are of superseded analyses."""
    connection = session.connection()
    found = [row for item in items for row in _IS_OVERTAKEN.rows(connection, {"delivery": item.delivery_id})]
    _supersede(session, found, now)


def _supersede(session: Session, found: Iterable[Row], now: datetime) -> None:
    """found: (id of a delivery, id of its job)."""
    for delivery_id, job_id in found:
        if jobs.withdraw(session, job_id, now, SUPERSEDED):
            settle(session, delivery_id, "superseded", SUPERSEDED)


def settle(session: Session, delivery_id: int, state: str, comment: str) -> None:
    """A delivery that ended without an attempt."""
    session.execute(update(Delivery).where(Delivery.id == delivery_id).values(state=state, comment=comment[:500]))
